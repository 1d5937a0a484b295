//! Variables of the dynamic loader, at containers that get devices.
//!
//! Runtimes of devices prepare such a container with programs of the host, called hooks. Some of these run
//! with the container's environment and in its folder, before its root is changed: a library that the image
//! names in `LD_PRELOAD` is then loaded into a program of the host's root (CVE-2025-23266). So a container
//! with GPUs of NVIDIA keeps such a variable only if all of its paths are below folders that belong to the
//! operating system on any host, where no job writes. Otherwise the engine gets it empty, which the loader
//! takes for absent; a job that needs it can set it in its own program.

/// Variables with which the loader, or the C library, loads code.
const VARIABLES: [&str; 4] = ["GCONV_PATH", "LD_AUDIT", "LD_LIBRARY_PATH", "LD_PRELOAD"];

/// Folders that belong to the operating system. Hosts keep disks of jobs and layers of images elsewhere.
const SYSTEM_FOLDERS: [&str; 3] = ["/lib/", "/lib64/", "/usr/"];

/// Returns the loader's variables that must be emptied, as `NAME=`, given the variables of the image and,
/// after them, those of the request. Of two values for a name the last counts.
pub(super) fn emptied<'a>(environment: impl Iterator<Item = &'a str> + Clone) -> Vec<String> {
    VARIABLES
        .into_iter()
        .filter(|name| {
            environment
                .clone()
                .filter_map(|entry| entry.split_once('='))
                .filter(|(found, _)| found == name)
                .last()
                .is_some_and(|(_, value)| !is_harmless(name, value))
        })
        .map(|name| format!("{name}="))
        .collect()
}

/// Returns true if the loader finds nothing by this value that a job could have written.
fn is_harmless(name: &str, value: &str) -> bool {
    if value.is_empty() {
        return true;
    }
    match name {
        // The loader looks up a name without a slash in the system's folders, and in those of
        // `LD_LIBRARY_PATH`. Spaces separate these lists as well as colons.
        "LD_PRELOAD" | "LD_AUDIT" => value
            .split([':', ' '])
            .filter(|entry| !entry.is_empty())
            .all(|entry| is_of_system(entry) || !entry.contains(['/', '$'])),
        // An empty entry stands for the current folder.
        _ => value.split([':', ';']).all(is_of_system),
    }
}

/// Returns true for a plain path below a folder of the operating system.
fn is_of_system(path: &str) -> bool {
    SYSTEM_FOLDERS
        .iter()
        // `/usr/lib` for one, and `/lib` itself.
        .any(|folder| format!("{path}/").starts_with(*folder))
        // A dollar sign begins a placeholder, such as `$ORIGIN`.
        && !path.contains('$')
        && path.split('/').all(|part| !matches!(part, "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(environment: &[&str]) -> Vec<String> {
        emptied(environment.iter().copied())
    }

    #[test]
    fn libraries_of_the_operating_system_stay() {
        for kept in [
            "LD_LIBRARY_PATH=/usr/local/nvidia/lib:/usr/local/nvidia/lib64",
            "LD_LIBRARY_PATH=/usr/local/cuda/lib64:/lib",
            "LD_PRELOAD=/usr/lib/x86_64-linux-gnu/libtcmalloc.so.4",
            "LD_PRELOAD=libtcmalloc.so.4 libjemalloc.so.2",
            "LD_PRELOAD=",
            "PATH=/work/bin",
            "LD_BIND_NOW=1",
        ] {
            assert_eq!(of(&[kept]), Vec::<String>::new(), "{kept}");
        }
    }

    #[test]
    fn libraries_that_a_job_can_write_are_left_out() {
        for (left_out, expected) in [
            ("LD_PRELOAD=/proc/self/cwd/library.so", "LD_PRELOAD="),
            ("LD_PRELOAD=/usr/lib/a.so:./library.so", "LD_PRELOAD="),
            ("LD_PRELOAD=/usr/../proc/self/cwd/library.so", "LD_PRELOAD="),
            ("LD_PRELOAD=$ORIGIN", "LD_PRELOAD="),
            ("LD_AUDIT=/work/library.so", "LD_AUDIT="),
            ("LD_LIBRARY_PATH=/usr/lib:", "LD_LIBRARY_PATH="),
            ("LD_LIBRARY_PATH=lib", "LD_LIBRARY_PATH="),
            ("LD_LIBRARY_PATH=/usr/lib;/tmp", "LD_LIBRARY_PATH="),
            ("LD_LIBRARY_PATH=/usrx", "LD_LIBRARY_PATH="),
            ("LD_LIBRARY_PATH=/opt/lib", "LD_LIBRARY_PATH="),
            ("GCONV_PATH=/tmp", "GCONV_PATH="),
        ] {
            assert_eq!(of(&["A=1", left_out]), [expected], "{left_out}");
        }
    }

    #[test]
    fn last_value_counts() {
        let foreign = "LD_PRELOAD=/work/library.so";
        let own = "LD_PRELOAD=/usr/lib/library.so";
        assert_eq!(of(&[foreign, own]), Vec::<String>::new());
        assert_eq!(of(&[own, foreign]), ["LD_PRELOAD="]);
    }
}
