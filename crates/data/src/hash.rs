//! SHA-256 of content: what a result names so that it can be compared with another.
//!
//! Deliberately not here: what is hashed; each kind of content says how it becomes bytes.

use std::{
    fmt,
    fs::File,
    io::{BufReader, Read},
    path::Path,
    str::FromStr,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// A SHA-256, shown as 64 hex digits.
///
/// ```
/// use metashot_data::ContentHash;
///
/// let hash = ContentHash::of(b"abc");
/// assert_eq!(hash.short(), "ba7816bf8f01");
/// assert_eq!(hash.to_string().parse::<ContentHash>()?, hash);
/// # Ok::<(), metashot_data::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContentHash(pub [u8; 32]);

impl ContentHash {
    /// The hash of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Its first 12 hex digits, for tables and titles.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ContentHash {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::setting("hash", "64 hex digits", &format!("`{text}`"));
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for ContentHash {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<ContentHash> for String {
    fn from(hash: ContentHash) -> Self {
        hash.to_string()
    }
}

/// The hash of a file's bytes, as `sha256sum` prints it. The file is never in memory as a whole.
///
/// # Errors
/// A file that cannot be read.
pub fn hash_file(path: &Path) -> Result<ContentHash> {
    let hash = || {
        let mut reader = BufReader::new(File::open(path)?);
        let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 1 << 16]);
        loop {
            match reader.read(&mut buffer)? {
                0 => return Ok(ContentHash(hasher.finalize().into())),
                n => hasher.update(&buffer[..n]),
            }
        }
    };
    hash().map_err(|source| Error::Read {
        path: path.to_path_buf(),
        source,
    })
}
