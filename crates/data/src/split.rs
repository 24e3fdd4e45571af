//! Which classes are for training, for validation and for test, and the check that no class is in two of them.
//!
//! Deliberately not here: the examples. A class is a name, of an entity type or of a picture class.

use std::collections::BTreeMap;

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::{Error, Result};

/// Class names for training, validation and test.
///
/// ```
/// use metashot_data::ClassSplit;
///
/// let names: Vec<String> = ["bird", "cat", "dog", "eel", "fox"].map(String::from).to_vec();
/// let split = ClassSplit::random(&names, 1, 2, 0)?;
/// assert_eq!((split.train.len(), split.validation.len(), split.test.len()), (2, 1, 2));
///
/// let leak = ClassSplit::new(names[..3].to_vec(), vec![], names[2..].to_vec());
/// assert_eq!(leak.unwrap_err().to_string(), "class `dog` stands in both `train` and `test`");
/// # Ok::<(), metashot_data::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassSplit {
    /// Classes to meta-train on.
    pub train: Vec<String>,
    /// Classes to choose settings and checkpoints on.
    pub validation: Vec<String>,
    /// Classes to report on.
    pub test: Vec<String>,
}

impl ClassSplit {
    /// A split that is checked to be disjoint.
    ///
    /// # Errors
    /// A class that is listed twice, in two sets or in one.
    pub fn new(train: Vec<String>, validation: Vec<String>, test: Vec<String>) -> Result<Self> {
        disjoint(&[
            ("train", &train),
            ("validation", &validation),
            ("test", &test),
        ])?;
        Ok(Self {
            train,
            validation,
            test,
        })
    }

    /// A random split, the same for the same names and seed in whatever order the names come; each set is sorted.
    ///
    /// # Errors
    /// A name that is listed twice; too few names to leave one for training.
    pub fn random(names: &[String], n_validation: usize, n_test: usize, seed: u64) -> Result<Self> {
        disjoint(&[("names", names)])?;
        let wanted = n_validation.saturating_add(n_test).saturating_add(1);
        if names.len() < wanted {
            let purpose =
                format!("a split with {n_validation} for validation and {n_test} for test");
            return Err(Error::TooFewClasses {
                purpose,
                wanted,
                found: names.len(),
            });
        }
        let mut train = names.to_vec();
        train.sort_unstable();
        train.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        let mut test = train.split_off(train.len() - n_test);
        let mut validation = train.split_off(train.len() - n_validation);
        for set in [&mut train, &mut validation, &mut test] {
            set.sort_unstable();
        }
        Ok(Self {
            train,
            validation,
            test,
        })
    }
}

/// Checks that no class stands in two of the named sets, nor twice in one.
///
/// # Errors
/// The first class that does, and the names of its two sets.
pub fn disjoint(sets: &[(&str, &[String])]) -> Result<()> {
    let mut seen = BTreeMap::new();
    for &(set, classes) in sets {
        for class in classes {
            if let Some(first) = seen.insert(class, set) {
                return Err(Error::Overlap {
                    name: class.clone(),
                    first: first.to_owned(),
                    second: set.to_owned(),
                });
            }
        }
    }
    Ok(())
}
