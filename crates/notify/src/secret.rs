//! Secrets, by reference only.

use std::fmt;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where a secret is: `{ env: NAME }` or `{ file: PATH }`. What it is never stands in a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum SecretRef {
    /// A variable of the server's environment.
    Env(String),
    /// A file on the server, the whole of which is the secret; a line break at its end is not part of it.
    #[schema(value_type = String)]
    File(PathBuf),
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "the variable {name}"),
            Self::File(path) => write!(f, "the file {}", path.display()),
        }
    }
}

/// The value of a secret. It is not shown by `Debug`, and cannot be serialized.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value. Only for where it is used.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret([redacted])")
    }
}

/// Why there is no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// It is in a place that channels may not read.
    #[error("{place} is not a place for channels' secrets; {allowed}")]
    Forbidden {
        /// The reference.
        place: String,
        /// Where they may be.
        allowed: String,
    },
    /// There is nothing there.
    #[error("{place} holds no secret: {reason}")]
    Missing {
        /// The reference.
        place: String,
        /// Why.
        reason: String,
    },
}

/// Where secrets may be. Without this, whoever may write a channel could have any variable or file of the server sent to a
/// receiver of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretPlaces {
    /// Names of variables, or starts of names that end with `*`.
    pub variables: Vec<String>,
    /// Directories: files in them and below.
    pub directories: Vec<PathBuf>,
}

impl Default for SecretPlaces {
    /// Variables that start with `SQUALL_SECRET_`, and files below `/etc/squall/secrets` and below systemd's
    /// `$CREDENTIALS_DIRECTORY` (systemd.exec(5)).
    fn default() -> Self {
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        let directories = std::iter::once(PathBuf::from("/etc/squall/secrets")).chain(credentials).collect();
        Self { variables: vec!["SQUALL_SECRET_*".into()], directories }
    }
}

/// More than any token, password or key.
const LONGEST: u64 = 64 << 10;

impl SecretPlaces {
    /// Whether a channel may refer to it. Whether it is there is another matter.
    pub fn check(&self, secret: &SecretRef) -> Result<(), SecretError> {
        let allowed = match secret {
            SecretRef::Env(name) => self.variables.iter().any(|known| match known.strip_suffix('*') {
                Some(start) => name.starts_with(start),
                None => known == name,
            }),
            SecretRef::File(path) => {
                let plain = path.is_absolute() && !path.components().any(|part| part == std::path::Component::ParentDir);
                plain && self.directories.iter().any(|directory| path.starts_with(directory))
            }
        };
        if allowed { Ok(()) } else { Err(self.forbidden(secret)) }
    }

    fn forbidden(&self, secret: &SecretRef) -> SecretError {
        let allowed = match secret {
            SecretRef::Env(_) => format!("the variables are {}", self.variables.join(", ")),
            SecretRef::File(_) => {
                let directories: Vec<_> = self.directories.iter().map(|path| path.display().to_string()).collect();
                format!("the directories are {}", directories.join(", "))
            }
        };
        SecretError::Forbidden { place: secret.to_string(), allowed }
    }

    /// Reads it, each time anew: a secret that is rotated is picked up.
    pub fn read(&self, secret: &SecretRef) -> Result<Secret, SecretError> {
        self.check(secret)?;
        let missing = |reason: String| SecretError::Missing { place: secret.to_string(), reason };
        let value = match secret {
            SecretRef::Env(name) => std::env::var(name).map_err(|error| missing(error.to_string()))?,
            SecretRef::File(path) => self.file(path, secret)?,
        };
        let value = value.trim_end_matches(['\r', '\n']);
        if value.is_empty() { Err(missing("it is empty".into())) } else { Ok(Secret::new(value)) }
    }

    fn file(&self, path: &Path, secret: &SecretRef) -> Result<String, SecretError> {
        let missing = |reason: std::io::Error| SecretError::Missing { place: secret.to_string(), reason: reason.to_string() };
        // Where a link leads to counts as well.
        let real = path.canonicalize().map_err(missing)?;
        if !self.directories.iter().any(|directory| directory.canonicalize().is_ok_and(|directory| real.starts_with(directory))) {
            return Err(self.forbidden(secret));
        }
        let about = real.metadata().map_err(missing)?;
        if !about.is_file() || about.len() > LONGEST {
            return Err(missing(std::io::Error::other(format!("not a file of at most {LONGEST} bytes"))));
        }
        std::fs::read_to_string(&real).map_err(missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(directory: &Path) -> SecretPlaces {
        SecretPlaces { variables: vec!["SQUALL_SECRET_*".into(), "CARGO_PKG_NAME".into()], directories: vec![directory.to_owned()] }
    }

    #[test]
    fn a_file_is_read_and_shown_to_nobody() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("token"), "hunter22\n").expect("written");
        let places = places(directory.path());
        let secret = places.read(&SecretRef::File(directory.path().join("token"))).expect("a secret");
        assert_eq!(secret.expose(), "hunter22");
        assert_eq!(format!("{secret:?}"), "Secret([redacted])");
        assert_eq!(places.read(&SecretRef::Env("CARGO_PKG_NAME".into())).expect("set by cargo").expose(), "squall-notify");
    }

    #[test]
    fn nothing_else_of_the_server_can_be_read() {
        let directory = tempfile::tempdir().expect("a directory");
        std::os::unix::fs::symlink("/etc/hostname", directory.path().join("link")).expect("linked");
        let places = places(directory.path());
        let forbidden = [
            SecretRef::Env("PATH".into()),
            SecretRef::File("/etc/passwd".into()),
            SecretRef::File(directory.path().join("../../etc/passwd")),
            SecretRef::File(directory.path().join("link")),
        ];
        for secret in forbidden {
            assert!(matches!(places.read(&secret), Err(SecretError::Forbidden { .. })), "{secret}");
        }
        let missing = places.read(&SecretRef::File(directory.path().join("none")));
        assert!(matches!(missing, Err(SecretError::Missing { .. })), "{missing:?}");
    }

    #[test]
    fn a_reference_is_written_in_one_of_two_ways_and_never_as_a_value() {
        let read = |json: &str| serde_json::from_str::<SecretRef>(json);
        assert_eq!(read(r#"{"env":"X"}"#).expect("a reference"), SecretRef::Env("X".into()));
        assert_eq!(read(r#"{"file":"/x"}"#).expect("a reference"), SecretRef::File("/x".into()));
        for wrong in [r#""hunter22""#, r#"{"value":"hunter22"}"#, r#"{"env":"X","file":"/x"}"#] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
