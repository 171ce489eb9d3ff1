//! The whole API against its own description, by Schemathesis.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::json;
use squall_api::tokens::CreatedToken;

use crate::team::Team;

/// Tries for each operation. More with `SQUALL_SCHEMATHESIS_EXAMPLES`.
const EXAMPLES: &str = "8";

fn program() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/test-python/bin/schemathesis");
    assert!(path.exists(), "{} is needed for this test; `cargo xtask clients` installs it", path.display());
    path
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::disallowed_methods, reason = "the tester is a program")]
async fn no_answer_of_the_api_is_a_failure_or_another_than_described() {
    let team = Team::start().await;
    let admin = team.admin().await;
    // The token's user is not the admin whom the tester may remove, and its own token it cannot guess.
    let robot = json!({ "name": "robot", "roles": ["admin"] });
    admin.post::<serde_json::Value>("users", &robot).await.expect("a program");
    let token: CreatedToken = admin.post("tokens", &json!({ "name": "schemathesis", "owner": "robot" })).await.expect("a token");
    let description = team.directory.path().join("openapi.json");
    std::fs::write(&description, serde_json::to_vec(&squall_server::openapi()).expect("JSON")).expect("written");
    let examples = std::env::var("SQUALL_SCHEMATHESIS_EXAMPLES").unwrap_or_else(|_| EXAMPLES.to_owned());
    let run = tokio::process::Command::new(program())
        .arg("run")
        .arg(&description)
        .args(["--url", &team.url, "--header", &format!("Authorization: Bearer {}", token.secret)])
        .args(["--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"])
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", &examples, "--seed", "1", "--workers", "2", "--no-color"])
        .args([
            "--request-timeout",
            "30",
            "--suppress-health-check",
            "all",
            "--generation-with-security-parameters",
            "false",
            "--exclude-path-regex",
            r"events$|/live$|/link$|/tokens/\{id\}$|/users/\{name\}$",
        ])
        .current_dir(team.directory.path())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("it runs");
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}\n{}", String::from_utf8_lossy(&run.stderr));
    assert!(!said.contains(&token.secret));
}
