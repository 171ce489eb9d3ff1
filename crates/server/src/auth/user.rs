//! Users as the database keeps them.

use serde_json::json;
use squall_api::Problem;
use squall_api::users::Role;
use squall_store::{Document, List, StoreError, Write};

use super::records::{USER, UserRecord};
use crate::{ApiError, App};

/// A user, if there is one of the name.
pub(crate) async fn find(app: &App, name: &str) -> Result<Option<(Document, UserRecord)>, StoreError> {
    // What cannot be a name is nobody's; the database need not be asked with it.
    if check_name(name).is_err() {
        return Ok(None);
    }
    let Some(document) = app.db.get(USER, name).await? else { return Ok(None) };
    let record = document.decode()?;
    Ok(Some((document, record)))
}

/// A user who may sign in.
pub(crate) async fn enabled(app: &App, name: &str) -> Result<Option<(Document, UserRecord)>, StoreError> {
    Ok(find(app, name).await?.filter(|(_, user)| !user.disabled))
}

/// Whether a name can be a user's.
pub(crate) fn check_name(name: &str) -> Result<(), ApiError> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let good =
        name.len() <= 64 && name.bytes().next().is_some_and(plain) && name.bytes().all(|byte| plain(byte) || b"._@-".contains(&byte));
    if good {
        return Ok(());
    }
    Err(Problem::invalid("a user's name has 1 to 64 of `a-z`, `0-9`, `.`, `_`, `@`, `-`, the first a letter or a digit").into())
}

/// Somebody must be able to look after the users: refuses a change that takes the last admin away. The write belongs into the
/// change's batch, so that two admins who remove each other at the same time do not both succeed.
pub(crate) async fn keep_an_admin(app: &App, without: &str) -> Result<Write, ApiError> {
    const GUARD: (&str, &str) = ("auth", "admins");
    let guard = app.db.get(GUARD.0, GUARD.1).await?;
    for document in app.db.list(USER, &List::default()).await? {
        let user: UserRecord = document.decode()?;
        let signs_in = user.password.is_some() || user.external.is_some();
        if document.id != without && !user.disabled && signs_in && user.roles.contains(&Role::Admin) {
            let (kind, id, body) = (GUARD.0.to_owned(), GUARD.1.to_owned(), json!({ "changed": without }));
            return Ok(match guard {
                Some(guard) => Write::Replace { kind, id, version: guard.version, body },
                None => Write::Create { kind, id, body },
            });
        }
    }
    Err(Problem::conflict(format!("`{without}` is the last admin who can sign in")).hint("make somebody else an admin first").into())
}
