//! Pictures: from class folders or the Omniglot release to normalised pixels, and to K-shot episodes.
//!
//! Deliberately not here: augmentation (a rotation is a new class, not a new view of an old one), batches.

mod episode;
mod folder;
mod omniglot;
mod picture;
mod set;

pub use episode::{ImageEpisode, ImageSampler, ImageShape};
pub use folder::read_class_folders;
pub use omniglot::{read_omniglot, read_vinyals_split};
pub use picture::{ImageFormat, Normalize};
pub use set::{ImageSet, rotated_name};
