//! The client libraries of others that tests drive: from `PyPI`, npm and crates.io, in versions that are pinned, under `target`.

use std::path::Path;

use anyhow::{Context, Result};

use crate::shell::{cargo, command, root, run as sh};

const WANTED: &str = "crates/proxy/tests/clients";

/// Installs them, where they are not what is asked for.
pub fn install() -> Result<()> {
    let (wanted, target) = (root().join(WANTED), root().join("target"));
    let python = target.join("test-python");
    once(&wanted.join("requirements.txt"), &python, |list| {
        sh(command("python3").args(["-m", "venv", "--clear"]).arg(&python))?;
        sh(command(python.join("bin/python")).args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(list))
    })?;
    let node = target.join("test-node");
    once(&wanted.join("package.json"), &node, |list| {
        std::fs::create_dir_all(&node)?;
        std::fs::copy(list, node.join("package.json"))?;
        sh(command("npm").args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"]).arg(&node))
    })?;
    let rust = ["build", "--quiet", "--locked", "--manifest-path"];
    sh(cargo().args(rust).arg(wanted.join("rust/Cargo.toml")).arg("--target-dir").arg(target.join("test-rust")))
}

/// Does it if this list was not the last one that it was done for.
fn once(list: &Path, folder: &Path, install: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let wanted = std::fs::read(list).with_context(|| list.display().to_string())?;
    let done = folder.join("installed");
    if std::fs::read(&done).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    install(list)?;
    Ok(std::fs::write(done, wanted)?)
}
