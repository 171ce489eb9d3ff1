//! A machine of its own for what this one does not let a process do: QEMU with Debian's kernel and an initramfs of the
//! programs that are needed. It is emulated in software: some ten times slower than the machine that it runs on.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::shell;

/// Where the kernel is kept from one time to the next.
const KEPT: &str = "target/vm";
const KERNEL: &str = "linux-image-cloud-amd64";
/// The line that the machine ends with.
const ENDED: &str = "vm: ended with ";

/// What runs in it.
pub struct Machine<'a> {
    /// Programs to take along: where they are, and what they are called inside (in `/bin`).
    pub programs: &'a [(PathBuf, &'a str)],
    /// Files and directories to take along, to the same place; with their libraries, if they are programs.
    pub files: &'a [PathBuf],
    /// Modules of the kernel to take along, with those that they need. They are loaded when something asks for them.
    pub modules: &'a [&'a str],
    /// A line for the shell.
    pub line: &'a str,
    /// Descriptors that a process may have.
    pub descriptors: u32,
    pub cores: u32,
    pub memory_mib: u32,
    pub time: Time,
}

/// How time passes inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// As outside. What runs takes some ten times as long as on the machine itself, and as the rest of that machine lets it.
    Real,
    /// By instructions: each takes a nanosecond, and when all sleep the clock goes on to the next timer at once. Nothing that
    /// the machine outside does makes any difference, and a core is as fast as one of 1 GHz.
    Counted,
}

impl Machine<'_> {
    /// Boots, runs the line, shows what it says, and ends.
    pub fn run(&self) -> Result<()> {
        for (program, package) in [("qemu-system-x86_64", "qemu-system-x86"), ("busybox", "busybox-static"), ("cpio", "cpio")] {
            if !shell::has(program) {
                bail!("`{program}` is missing: install the Debian package {package}");
            }
        }
        let kernel = kernel()?;
        let work = tempfile::tempdir()?;
        let initramfs = self.initramfs(work.path())?;
        let mut qemu = shell::command("qemu-system-x86_64");
        qemu.args(["-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio"]);
        // KVM would be faster, and fails in strange ways inside other virtual machines.
        match self.time {
            Time::Real => qemu.args(["-accel", "tcg,thread=multi"]),
            Time::Counted => qemu.args(["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off"]),
        };
        qemu.args(["-cpu", "max"]);
        qemu.args(["-smp", &self.cores.to_string(), "-m", &self.memory_mib.to_string()]);
        qemu.arg("-kernel").arg(kernel).arg("-initrd").arg(initramfs);
        qemu.args(["-append", "console=ttyS0 quiet panic=-1 mitigations=off"]);
        let mut child = qemu.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("qemu-system-x86_64")?;
        let mut status = None;
        for line in BufReader::new(child.stdout.take().context("no output")?).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).trim_end().to_owned();
            match line.strip_prefix(ENDED) {
                Some(code) => status = Some(code.to_owned()),
                None => shell::say(&line),
            }
        }
        child.wait()?;
        match status.as_deref() {
            Some("0") => Ok(()),
            Some(code) => bail!("it ended with {code}, inside"),
            None => bail!("the machine ended before what it ran"),
        }
    }

    /// Copies modules, and makes the index by which they are found.
    fn take_modules(&self, root: &Path) -> Result<()> {
        let kept = shell::root().join(KEPT);
        let version = std::fs::read_dir(kept.join("lib/modules"))?.next().context("the kernel has no modules")??.file_name();
        let from = kept.join("lib/modules").join(&version);
        if !from.join("modules.dep").exists() {
            shell::run_quietly(shell::command("depmod").arg("-b").arg(&kept).arg(&version))?;
        }
        let dependencies = std::fs::read_to_string(from.join("modules.dep"))?;
        let name = |path: &str| path.rsplit('/').next().and_then(|file| file.split('.').next()).map(|name| name.replace('-', "_"));
        let mut wanted: Vec<PathBuf> = vec!["modules.builtin".into(), "modules.builtin.modinfo".into(), "modules.order".into()];
        for module in self.modules {
            let line = dependencies.lines().find(|line| line.split(':').next().and_then(name).as_deref() == Some(module));
            let line = line.with_context(|| format!("this kernel has no module {module}"))?;
            wanted.extend(line.split_whitespace().map(|path| PathBuf::from(path.trim_end_matches(':'))));
        }
        let to = root.join("lib/modules").join(&version);
        for path in wanted {
            std::fs::create_dir_all(to.join(&path).parent().context("a module in no directory")?)?;
            std::fs::copy(from.join(&path), to.join(&path))?;
        }
        shell::run_quietly(shell::command("depmod").arg("-b").arg(root).arg(&version))
    }

    fn initramfs(&self, work: &Path) -> Result<PathBuf> {
        let root = work.join("root");
        // Programs of this project look for its root.
        for dir in ["bin".into(), "run".into(), "proc".into(), "sys".into(), "dev".into(), "tmp".into(), inside(&shell::root())] {
            std::fs::create_dir_all(root.join::<PathBuf>(dir))?;
        }
        let mut programs = self.programs.to_vec();
        programs.push((shell::which("busybox").context("`busybox` is missing")?, "busybox"));
        if !self.modules.is_empty() {
            programs.push((shell::which("modprobe").context("`modprobe` is missing: install the Debian package kmod")?, "modprobe"));
            self.take_modules(&root)?;
        }
        let mut libraries = BTreeSet::new();
        for (path, name) in &programs {
            take(path, &root.join("bin").join(name))?;
            libraries.extend(libraries_of(path)?);
        }
        for path in self.files {
            take(path, &root.join(inside(path)))?;
            if path.is_file() {
                libraries.extend(libraries_of(path)?);
            }
        }
        for library in libraries {
            let to = root.join(inside(&library));
            std::fs::create_dir_all(to.parent().context("a library in no directory")?)?;
            std::fs::copy(&library, to)?;
        }
        let init = format!(
            "#!/bin/busybox sh\n\
             for name in $(/bin/busybox --list); do [ -e /bin/$name ] || /bin/busybox ln -s busybox /bin/$name; done\n\
             [ -e /sbin ] || /bin/ln -s bin /sbin\n\
             export PATH=/bin HOME=/tmp\n\
             mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev; mount -t tmpfs tmp /tmp\n\
             mount -t cgroup2 cgroup /sys/fs/cgroup; mount -t bpf bpf /sys/fs/bpf; ip link set lo up 2>/dev/null\n\
             ulimit -Hn {0}; ulimit -Sn {0}\n\
             {1}\n\
             echo; echo \"{ENDED}$?\"\n\
             poweroff -f\n",
            self.descriptors, self.line
        );
        std::fs::write(root.join("init"), init)?;
        shell::run_quietly(shell::command("chmod").arg("+x").arg(root.join("init")))?;
        let file = work.join("initramfs");
        let pack = format!("cd '{}' && find . | cpio --quiet -o -H newc > '{}'", root.display(), file.display());
        shell::run_quietly(shell::command("sh").args(["-c", &pack]))?;
        Ok(file)
    }
}

/// Copies a file or a directory. Programs are left without what only debuggers need: all of it has to fit into memory.
fn take(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to.parent().context("it is in no directory")?)?;
    shell::run_quietly(shell::command("cp").args(["-rL", "--preserve=mode"]).arg(from).arg(to))?;
    if to.is_file() && shell::has("strip") {
        // What is no program stays as it is.
        shell::output(shell::command("strip").arg("--strip-debug").arg(to))?;
    }
    Ok(())
}

/// A path below another root.
fn inside(path: &Path) -> PathBuf {
    path.strip_prefix("/").unwrap_or(path).to_owned()
}

/// What the dynamic linker would load with it.
fn libraries_of(program: &Path) -> Result<Vec<PathBuf>> {
    let output = shell::output(shell::command("ldd").arg(program))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // `libc.so.6 => /lib/libc.so.6 (0x…)`, and the linker itself by its path; a static program has none.
    Ok(text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect())
}

/// Debian's kernel for virtual machines, fetched by `apt-get` the first time.
fn kernel() -> Result<PathBuf> {
    let kept = shell::root().join(KEPT);
    let found = || -> Option<PathBuf> {
        let files = std::fs::read_dir(kept.join("boot")).ok()?;
        files
            .filter_map(|file| Some(file.ok()?.path()))
            .find(|path| path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"vmlinuz")))
    };
    if let Some(kernel) = found() {
        return Ok(kernel);
    }
    std::fs::create_dir_all(&kept)?;
    let text = shell::output(shell::command("apt-cache").args(["depends", "--important", KERNEL]))?;
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    let package = text.split_whitespace().find(|word| word.starts_with("linux-image-") && *word != KERNEL);
    let package = package.with_context(|| format!("apt knows no {KERNEL}: run `apt-get update`"))?;
    shell::run_quietly(shell::command("apt-get").args(["download", "-qq", package]).current_dir(&kept))?;
    let debs: Vec<PathBuf> = std::fs::read_dir(&kept)?.filter_map(|file| Some(file.ok()?.path())).collect();
    let deb = debs.iter().find(|path| path.extension().is_some_and(|end| end == "deb")).context("apt-get downloaded nothing")?;
    shell::run_quietly(shell::command("dpkg-deb").arg("--extract").arg(deb).arg(&kept))?;
    std::fs::remove_file(deb)?;
    found().with_context(|| format!("{package} has no kernel in it"))
}
