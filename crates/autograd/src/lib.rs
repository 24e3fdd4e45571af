//! Reverse-mode differentiation over candle tensors that can be differentiated again.
