//! `cargo xtask gen`: references that come from the code, so that they cannot be wrong. CI checks that they are committed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::shell;

#[derive(clap::Args)]
pub struct Args {
    /// Change nothing; fail if a reference is out of date
    #[arg(long)]
    pub check: bool,
}

pub fn run(args: &Args) -> Result<()> {
    let committed = shell::root().join("docs/reference");
    let fresh = tempfile::tempdir()?;
    let reference = |dir: &Path| {
        let mut command = shell::cargo();
        command.args(["run", "--quiet", "--package", "squall", "--", "reference"]).arg(dir);
        shell::run(&mut command)
    };
    if !args.check {
        return reference(&committed);
    }
    reference(fresh.path())?;
    let (is, should) = (files(&committed)?, files(fresh.path())?);
    let names: std::collections::BTreeSet<&PathBuf> = is.keys().chain(should.keys()).collect();
    let stale: Vec<String> = names.into_iter().filter(|n| is.get(*n) != should.get(*n)).map(|n| n.display().to_string()).collect();
    if !stale.is_empty() {
        bail!("out of date in docs/reference: {}; run `cargo xtask gen` and commit", stale.join(", "));
    }
    shell::say("the generated references are up to date");
    Ok(())
}

fn files(dir: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(next) = open.pop() {
        if !next.is_dir() {
            continue;
        }
        for entry in std::fs::read_dir(next)? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.insert(path.strip_prefix(dir)?.to_owned(), std::fs::read(&path)?);
            }
        }
    }
    Ok(found)
}
