//! Pictures: from class folders or the Omniglot release to normalised pixels, for episodes of classes ([`ClassSampler`](crate::ClassSampler)).
//!
//! Deliberately not here: augmentation (a rotation is a new class, not a new view of an old one), batches.

mod folder;
mod omniglot;
mod picture;
mod set;

pub use folder::read_class_folders;
pub use omniglot::{read_omniglot, read_vinyals_split};
pub use picture::{ImageFormat, Normalize};
pub use set::{ImageSet, rotated_name};
