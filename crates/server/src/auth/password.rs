//! Passwords: Argon2id (RFC 9106) with the parameters of OWASP's password storage cheat sheet: 19 MiB, 2 passes, 1 lane.

use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use squall_api::Problem;
use tokio::sync::Semaphore;

use super::authenticate::too_many;
use crate::ApiError;

/// KiB of memory for one hash.
const MEMORY: u32 = 19 * 1024;
/// Longest password, in bytes: more is an attack on the hash's own input, not a password.
const LONGEST: usize = 1024;
/// How many may wait for their turn; with two at a time and 30 ms each, the last waits half a second.
const WAITING: usize = 32;

/// Computes hashes, a few at a time, so that logins cannot take all of the server's memory and cores.
#[derive(Debug, Clone)]
pub(crate) struct Passwords {
    turns: Arc<Semaphore>,
    queue: Arc<Semaphore>,
}

impl Passwords {
    pub fn new(at_once: u8) -> Self {
        let at_once = usize::from(at_once.max(1));
        Self { turns: Arc::new(Semaphore::new(at_once)), queue: Arc::new(Semaphore::new(at_once + WAITING)) }
    }

    /// The hash, in the PHC string format.
    pub async fn hash(&self, password: String) -> Result<String, ApiError> {
        self.compute(move || hash(&password)).await?
    }

    /// Whether it is the password. Where there is none to compare with, it takes as long and says no.
    pub async fn verify(&self, password: String, hash: Option<String>) -> Result<bool, ApiError> {
        self.compute(move || {
            let Some(hash) = hash.filter(|_| password.len() <= LONGEST) else {
                let nobody = "$argon2id$v=19$m=19456,t=2,p=1$c3F1YWxsIG5vYm9keSE$V2l0aG91dCBhIHVzZXIsIG5vIHBhc3N3b3JkLi4uLi4";
                let _ = argon2().map(|argon2| argon2.verify_password(password.get(..LONGEST).unwrap_or(&password).as_bytes(), nobody));
                return false;
            };
            argon2().is_ok_and(|argon2| argon2.verify_password(password.as_bytes(), hash.as_str()).is_ok())
        })
        .await
    }

    async fn compute<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
        let busy = || too_many("too many logins at the same time", Duration::from_secs(1));
        let _place = self.queue.clone().try_acquire_owned().map_err(|_| busy())?;
        let turn = self.turns.clone().acquire_owned().await.map_err(|_| busy())?;
        // The turn ends with the work, also when nobody waits for it any more.
        let worked = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        worked.await.map_err(|_| Problem::internal("the password could not be computed").into())
    }
}

fn argon2() -> Result<Argon2<'static>, ApiError> {
    let params = Params::new(MEMORY, 2, 1, None).map_err(|_| Problem::internal("the parameters of Argon2"))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash(password: &str) -> Result<String, ApiError> {
    let hashed = argon2()?.hash_password(password.as_bytes());
    Ok(hashed.map_err(|_| Problem::internal("the password could not be hashed"))?.to_string())
}

/// Whether somebody may have it as a password.
pub(crate) fn check_new(password: &str, user: &str, shortest: u8) -> Result<(), ApiError> {
    let characters = password.chars().count();
    let wrong = if characters < usize::from(shortest) {
        format!("it has {characters} characters, and needs at least {shortest}")
    } else if password.len() > LONGEST {
        format!("it is longer than {LONGEST} bytes")
    } else if password.to_lowercase().contains(user) && user.len() >= 4 {
        "it contains the user's name".to_owned()
    } else if password.chars().collect::<std::collections::BTreeSet<_>>().len() < 5 {
        "it has fewer than five different characters".to_owned()
    } else {
        return Ok(());
    };
    Err(Problem::invalid(format!("this cannot be a password: {wrong}")).hint("four or five random words make a good one").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn hashes_have_the_parameters_of_owasp_and_verify() {
        let passwords = Passwords::new(2);
        let hash = passwords.hash("correct horse battery".into()).await.expect("a hash");
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(passwords.verify("correct horse battery".into(), Some(hash.clone())).await.expect("verified"));
        assert!(!passwords.verify("correct horse batterz".into(), Some(hash)).await.expect("verified"));
        assert!(!passwords.verify("anything".into(), None).await.expect("verified"));
        assert!(!passwords.verify("anything".into(), Some("$1$broken".into())).await.expect("verified"));
    }

    #[tokio::test]
    async fn a_crowd_of_logins_is_turned_away_instead_of_taking_all_memory() {
        let passwords = Passwords::new(1);
        let tries = (0..200).map(|_| passwords.verify("anything at all".into(), None));
        let answers = futures_util::future::join_all(tries).await;
        let refused = answers.iter().filter(|answer| answer.as_ref().is_err_and(|e| e.0.status == 429)).count();
        assert_eq!(refused, 200 - 1 - WAITING);
    }

    #[test]
    fn weak_passwords_are_refused_with_the_reason() {
        for weak in ["short", "aaaaaaaaaaaaaaaa", "ada.lovelace-1815", &"x1y2z3".repeat(200)] {
            assert!(check_new(weak, "ada.lovelace", 12).is_err(), "{weak}");
        }
        assert!(check_new("correct horse battery", "ada.lovelace", 12).is_ok());
    }
}
