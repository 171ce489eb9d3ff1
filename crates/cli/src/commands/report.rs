//! `squall report`

use std::path::Path;

use squall_model::RunId;

use crate::context::Context;

pub fn format_of(_: &Path) -> anyhow::Result<()> {
    Ok(())
}

pub fn write(cx: &Context, run: &RunId, (): (), path: &Path) -> anyhow::Result<()> {
    Ok(std::fs::write(path, super::show::summary(cx, run)?.to_string())?)
}
