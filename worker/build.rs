//! Compiles `assay-init` into a static program, which the worker carries and puts into containers of sealed
//! jobs, and its loader, which brings it into containers of Kubernetes.
//!
//! It must run in any image, also in one without a C library. So it is linked statically, by rustc alone: the
//! sources in `init/` have no dependencies, and the C library's static part comes with the package libc6-dev,
//! like the rest of what a linker needs. Cargo cannot build a program with other flags within one build, and
//! the target for musl would be a second one to install.

use std::{
    env,
    error::Error,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

fn main() -> Result<(), Box<dyn Error>> {
    let sources = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join("../init/src");
    let out = PathBuf::from(variable("OUT_DIR")?);
    println!("cargo::rerun-if-changed=build.rs");
    for file in [
        "attach.rs",
        "blake3.rs",
        "devices.rs",
        "folder.rs",
        "launch.rs",
        "lib.rs",
        "main.rs",
        "program.rs",
        "report.rs",
        "system.rs",
        "watch.rs",
    ] {
        println!("cargo::rerun-if-changed={}", sources.join(file).display());
    }
    compile(
        &sources.join("lib.rs"),
        &["--crate-type=lib", "--crate-name=assay_init"],
        &out,
    )?;
    let library = format!("--extern=assay_init={}", out.join("libassay_init.rlib").display());
    compile(
        &sources.join("main.rs"),
        &["--crate-name=assay_init_program", &library],
        &out,
    )?;
    let loader = sources.join("../loader/main.rs");
    println!("cargo::rerun-if-changed={}", loader.display());
    compile(
        &loader,
        &[
            "--crate-name=assay_loader",
            "-Clink-arg=-nostartfiles",
            "-Clink-arg=-nostdlib",
            "-Clink-arg=-static",
        ],
        &out,
    )
}

fn variable(name: &str) -> Result<OsString, String> {
    env::var_os(name).ok_or_else(|| format!("cargo sets no {name}"))
}

fn compile(source: &Path, options: &[&str], out: &Path) -> Result<(), Box<dyn Error>> {
    let mut command = Command::new(variable("RUSTC")?);
    command
        .arg(source)
        .args(options)
        .arg("--out-dir")
        .arg(out)
        .arg("--target")
        .arg(variable("TARGET")?)
        .args([
            "--edition=2024",
            "-Cdebuginfo=0",
            "-Copt-level=s",
            "-Cpanic=abort",
            "-Cstrip=symbols",
            "-Ctarget-feature=+crt-static",
            // Without a dynamic loader nothing moves the program, and not every C compiler links such a
            // program.
            "-Crelocation-model=static",
        ]);
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        let mut option = OsString::from("-Clinker=");
        option.push(linker);
        command.arg(option);
    }
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "compiling {} into a static program failed; it needs the C library's static part (Debian: libc6-dev, Fedora: \
         glibc-static):\n{}",
        source.display(),
        String::from_utf8_lossy(&output.stderr)
    )
    .into())
}
