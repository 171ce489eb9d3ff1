//! `user`: everything that one user runs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall_engine::{FindError, Target, TargetKind, TargetMeta};
use squall_sys::process::{ProcessFacts, uid_of};

use super::process::NameOrNumber;

/// The kind of target.
#[derive(Debug)]
pub struct User;

/// Which user. The one that Squall itself runs as is not a match.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UserSelector {
    /// A name of `/etc/passwd`, or a number.
    pub name: NameOrNumber,
}

/// What is known of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UserFacts {
    /// The number.
    pub uid: u32,
}

impl TargetKind for User {
    type Selector = UserSelector;

    const META: TargetMeta = TargetMeta {
        name: "user",
        summary: "Everything that one user runs, by name or number",
        variables: &[],
        example: "user: { name: www-data }",
    };

    async fn find(&self, selector: &UserSelector) -> Result<Vec<Target>, FindError> {
        let name = &selector.name.0;
        let wrong = |message: String, hint: &str| FindError { message, hint: Some(hint.to_owned()) };
        let uid = uid_of(name)
            .ok_or_else(|| wrong(format!("there is no user `{name}` on this host"), "write a name of /etc/passwd, or a number"))?;
        if uid == rustix::process::geteuid().as_raw() {
            let message = format!("user `{name}` is the one that Squall itself runs as");
            return Err(wrong(message, "choose its processes (`process`), its service (`cgroup`), or the whole host (`host`)"));
        }
        let all = ProcessFacts::all().map_err(|e| FindError { message: format!("processes cannot be listed: {e}"), hint: None })?;
        if !all.iter().any(|process| process.uid == uid) {
            return Err(wrong(format!("user `{name}` runs nothing on this host now"), "start what is to be broken first"));
        }
        let label = if name.parse() == Ok(uid) { format!("user {uid}") } else { format!("user {name} ({uid})") };
        let facts = serde_json::to_value(UserFacts { uid }).unwrap_or_default();
        Ok(vec![Target { kind: "user".into(), id: format!("user:{uid}"), label, facts }])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn our_own_user_an_unknown_one_and_one_without_processes_are_refused_with_the_next_step() {
        let own = rustix::process::geteuid().as_raw().to_string();
        for (name, says) in [(own.as_str(), "Squall itself"), ("nobody-has-this-name", "there is no user"), ("3999999999", "runs nothing")]
        {
            let error = User.find(&UserSelector { name: NameOrNumber(name.into()) }).await.expect_err(name);
            assert!(error.message.contains(says) && error.hint.is_some(), "{error:?}");
        }
    }
}
