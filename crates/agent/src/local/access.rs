//! Who may ask.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use http::HeaderMap;
use squall_api::Problem;
use tokio::net::{TcpListener, UnixListener};

/// Whoever is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    /// Of the Unix socket: the user that opened the connection, as the kernel says (`SO_PEERCRED`, `unix(7)`); none if it does not.
    User(Option<u32>),
    /// Of TCP: anybody on this host.
    Anybody,
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self::User(stream.io().peer_cred().ok().map(|credentials| credentials.uid()))
    }
}

impl Connected<IncomingStream<'_, TcpListener>> for Peer {
    fn connect_info(_: IncomingStream<'_, TcpListener>) -> Self {
        Self::Anybody
    }
}

/// Who may.
#[derive(Debug, Clone)]
pub(super) struct Access {
    pub users: Vec<u32>,
    pub token: Option<String>,
}

impl Access {
    pub(super) fn check(&self, peer: Peer, headers: &HeaderMap) -> Result<(), Problem> {
        match peer {
            Peer::User(Some(user)) if self.users.contains(&user) => Ok(()),
            Peer::User(Some(user)) => {
                let hint = "ask as root or as the agent's user, or add this one to those that the agent's configuration allows";
                Err(Problem::forbidden(format!("user {user} may not set faults on this host")).hint(hint))
            }
            Peer::User(None) => Err(Problem::forbidden("the kernel does not say who asks")),
            Peer::Anybody => {
                let given = headers.get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
                let good = given.zip(self.token.as_deref()).is_some_and(|(given, token)| same(given.trim(), token));
                let hint = "send the token of the agent's token file: `Authorization: Bearer …`";
                if good { Ok(()) } else { Err(Problem::unauthenticated("the token is missing or wrong").hint(hint)) }
            }
        }
    }
}

/// Compares in a time that does not tell how much of it is right.
fn same(given: &str, token: &str) -> bool {
    let differences = given.bytes().zip(token.bytes()).fold(given.len() ^ token.len(), |seen, (a, b)| seen | usize::from(a ^ b));
    differences == 0
}

/// The token of a file. One is made, of 32 random bytes, where there is none.
pub(super) fn token(path: &Path) -> io::Result<String> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => {
            let mut random = [0; 32];
            std::fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
            let token: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
            file.write_all(format!("{token}\n").as_bytes())?;
            Ok(token)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let denied = |why: &str| io::Error::new(io::ErrorKind::PermissionDenied, why);
            if std::fs::metadata(path)?.mode() & 0o077 != 0 {
                return Err(denied("others than its owner can read it; `chmod 600` it"));
            }
            let token = std::fs::read_to_string(path)?.trim().to_owned();
            if token.len() < 16 { Err(denied("its token is shorter than 16 characters; remove it to have one made")) } else { Ok(token) }
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_token_is_made_once_and_kept_from_others() {
        let scratch = tempfile::tempdir().expect("a directory");
        let path = scratch.path().join("token");
        let made = token(&path).expect("made");
        assert_eq!((made.len(), token(&path).expect("read")), (64, made));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("opened to others");
        assert_eq!(token(&path).expect_err("refused").kind(), io::ErrorKind::PermissionDenied);
        let short = scratch.path().join("short");
        std::fs::write(&short, "abc").expect("written");
        std::fs::set_permissions(&short, std::fs::Permissions::from_mode(0o600)).expect("closed");
        assert!(token(&short).is_err());
    }

    #[test]
    fn only_the_whole_token_is_the_token() {
        assert!(same("abc", "abc"));
        assert!(!["ab", "abcd", "abd", ""].iter().any(|given| same(given, "abc")));
    }
}
