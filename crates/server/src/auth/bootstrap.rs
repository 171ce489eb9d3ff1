//! The first admin.

use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::json;
use squall_store::{Batch, CommitError, Write};

use super::records::{USER, UserRecord};
use super::{Caller, Outcome, Role, audit, secrets};
use crate::App;

/// Name of the first admin.
pub const FIRST_ADMIN: &str = "admin";
/// The file with their password, in the server's state directory.
const FILE: &str = "first-admin-password";

/// Makes the first admin where there is no user at all: a random password, in `first-admin-password` in the directory (mode
/// 0600), that has to be changed at the first login, which removes the file. Returns the file, if one is waiting.
///
/// Of several servers that start over one database, one makes the admin, and the others no file.
pub async fn prepare(app: &App, directory: &Path) -> anyhow::Result<Option<PathBuf>> {
    let path = directory.join(FILE);
    if app.db.count(USER, "").await? > 0 {
        let waiting = path.exists();
        if waiting {
            let _ = app.auth.inner().first_password.set(path.clone());
        }
        return Ok(waiting.then_some(path));
    }
    let password = secrets::secret().map_err(|e| anyhow::anyhow!("{}", e.0))?;
    let hash = app.auth.inner().passwords.hash(password.clone()).await.map_err(|e| anyhow::anyhow!("{}", e.0))?;
    // The file first: an admin whose password nobody has would be in the way for good.
    write(&path, &password)?;
    let record = UserRecord { roles: [Role::Admin].into(), password: Some(hash), must_change: true, ..UserRecord::default() };
    let row = audit(app, &Caller::local("server", [Role::Admin]), "user.create", "user/admin", Outcome::Ok, json!({ "first": true }));
    let create = Write::Create { kind: USER.into(), id: FIRST_ADMIN.into(), body: json!(record) };
    match app.db.commit(Batch::new([create, row])).await {
        Ok(_) => {
            let _ = app.auth.inner().first_password.set(path.clone());
            Ok(Some(path))
        }
        Err(CommitError::Conflict { .. }) => {
            std::fs::remove_file(&path)?;
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn write(path: &Path, password: &str) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{password}")?;
    file.sync_all()
}

/// Removes the file once its password is no longer one.
pub(crate) fn forget(app: &App, user: &str) {
    let Some(path) = app.auth.inner().first_password.get().filter(|_| user == FIRST_ADMIN) else { return };
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, path = %path.display(), "the first admin's password was changed, and its file could not be removed");
        }
        _ => {}
    }
}
