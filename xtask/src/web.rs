//! `cargo xtask web`: the console. Its types, tests and build, and the same in a real browser against a real server.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell::{cargo, command, has, root, run as sh, say};

#[derive(clap::Args)]
pub struct Args {
    /// Write what is made from other things: the types of the API, and `web/dist`
    #[arg(long)]
    write: bool,
    /// Without the tests in a browser
    #[arg(long)]
    fast: bool,
}

/// Files of the API's types, and of the build, as they are committed.
const TYPES: &str = "src/api/schema.d.ts";
const DIST: &str = "dist";

pub fn run(args: &Args) -> Result<()> {
    install()?;
    if args.write {
        sh(npm().args(["run", "--silent", "types"]))?;
        return sh(npm().args(["run", "--silent", "build"]));
    }
    let scratch = tempfile::tempdir()?;
    types(scratch.path())?;
    formatted()?;
    sh(npm().args(["run", "--silent", "check"]))?;
    sh(npm().args(["run", "--silent", "unit"]))?;
    build(scratch.path())?;
    if args.fast {
        return Ok(());
    }
    sh(cargo().args(["build", "--quiet", "--package", "squall", "--bins"]))?;
    driven()
}

/// What `cargo xtask test` does of it; its programs are built.
pub fn test(skipped: &mut Vec<String>) -> Result<()> {
    if !has("npm") {
        skipped.push("the console: npm is missing".into());
        return Ok(());
    }
    run(&Args { write: false, fast: true })?;
    if !has("chromium") {
        skipped.push("the console in a browser: chromium is missing".into());
        return Ok(());
    }
    driven()
}

fn driven() -> Result<()> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    sh(npm().args(["test", "--silent"]).env("SQUALL", target.join("debug/squall")))
}

fn npm() -> Command {
    let mut npm = command("npm");
    npm.current_dir(root().join("web"));
    npm
}

/// Installs exactly what the lock file says, where that is not what was installed last.
fn install() -> Result<()> {
    let web = root().join("web");
    let (lock, done) = (std::fs::read(web.join("package-lock.json"))?, web.join("node_modules/.squall-lock"));
    if std::fs::read(&done).is_ok_and(|installed| installed == lock) {
        return Ok(());
    }
    sh(npm().args(["ci", "--silent", "--no-audit", "--no-fund"]))?;
    Ok(std::fs::write(done, lock)?)
}

/// The types of the API are those of its description.
fn types(scratch: &Path) -> Result<()> {
    let fresh = scratch.join("schema.d.ts");
    sh(npm().args(["exec", "--silent", "--", "openapi-typescript", "../docs/reference/openapi.json", "--output"]).arg(&fresh))?;
    let read = |path: &Path| std::fs::read(path).with_context(|| path.display().to_string());
    if read(&fresh)? != read(&root().join("web").join(TYPES))? {
        bail!("web/{TYPES} is out of date; run `cargo xtask web --write` and commit");
    }
    Ok(())
}

/// Prettier names the files that are not.
fn formatted() -> Result<()> {
    let check = sh(npm().args(["exec", "--silent", "--", "prettier", "--check", "--log-level", "warn", "."]));
    check.context("files in web/ are not formatted; run `npm run format` there and commit")
}

/// What is committed is what comes of the sources. Compressed files are not compared: other versions of Node.js compress otherwise.
fn build(scratch: &Path) -> Result<()> {
    let fresh = scratch.join(DIST);
    sh(npm().args(["exec", "--silent", "--", "vite", "build", "--logLevel", "warn", "--outDir"]).arg(&fresh))?;
    let (is, should) = (files(&root().join("web").join(DIST))?, files(&fresh)?);
    let names: std::collections::BTreeSet<&PathBuf> = is.keys().chain(should.keys()).collect();
    let stale: Vec<String> = names.into_iter().filter(|name| is.get(*name) != should.get(*name)).map(|n| n.display().to_string()).collect();
    if !stale.is_empty() {
        bail!("out of date in web/{DIST}: {}; run `cargo xtask web --write` and commit", stale.join(", "));
    }
    say("the console is built as it is committed");
    Ok(())
}

/// Each file with its content; a compressed one without.
fn files(dir: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(&next).with_context(|| next.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let compressed = path.extension().is_some_and(|ending| ending == "br" || ending == "gz");
            let content = if compressed { Vec::new() } else { std::fs::read(&path)? };
            found.insert(path.strip_prefix(dir)?.to_owned(), content);
        }
    }
    Ok(found)
}
