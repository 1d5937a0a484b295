//! NVRTC, NVIDIA's compiler as a library, loaded when it is needed.
#![allow(unsafe_code)]

use std::{
    collections::BTreeMap,
    ffi::{CString, c_char, c_int},
    ptr,
    sync::{Arc, Mutex, PoisonError},
};

use cudarc::nvrtc::{result, sys};

use super::Absent;

/// The text of all kernels.
const KERNELS: &str = include_str!("kernels.cu");

/// The oldest NVRTC that compiles down to machine code.
const OLDEST: Version = Version { major: 11, minor: 2 };

/// A version of CUDA.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Version {
    /// The first number.
    pub major: i32,
    /// The second number.
    pub minor: i32,
}

impl std::fmt::Display for Version {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}.{}", self.major, self.minor)
    }
}

/// NVRTC, found and new enough.
#[derive(Clone, Debug)]
pub(super) struct Compiler {
    version: Version,
    /// Compute capabilities times ten, ascending.
    architectures: Vec<c_int>,
}

impl Compiler {
    pub(super) fn load() -> Result<Self, Absent> {
        // SAFETY: loading NVIDIA's library runs its initialisers, which have no conditions.
        if !unsafe { sys::is_culib_present() } {
            return Err(Absent::NoCompiler);
        }
        let (mut major, mut minor) = (0, 0);
        // SAFETY: both pointers are to integers that may be written.
        unsafe { sys::nvrtcVersion(&mut major, &mut minor) }.result()?;
        let version = Version { major, minor };
        if version < OLDEST {
            return Err(Absent::CompilerTooOld {
                compiler: version,
                oldest: OLDEST,
            });
        }
        Ok(Self {
            version,
            architectures: architectures()?,
        })
    }

    pub(super) fn version(&self) -> Version {
        self.version
    }

    /// Compute capabilities times ten that it compiles to machine code for.
    #[cfg(test)]
    pub(super) fn architectures(&self) -> &[c_int] {
        &self.architectures
    }

    /// What [`Self::compile`] makes, compiled once for each capability as long as the program runs: a round's
    /// deadline leaves no time to do it again for every slot.
    pub(super) fn compiled(&self, capability: c_int) -> Result<Arc<Vec<u8>>, Absent> {
        static COMPILED: Mutex<BTreeMap<c_int, Arc<Vec<u8>>>> = Mutex::new(BTreeMap::new());
        // Several GPUs of one kind wait for the first.
        let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(image) = compiled.get(&capability) {
            return Ok(image.clone());
        }
        let image = Arc::new(self.compile(capability)?);
        compiled.insert(capability, image.clone());
        Ok(image)
    }

    /// Compiles the kernels for a compute capability times ten.
    ///
    /// To machine code where the compiler knows the GPU: then the driver may be older than the compiler. Otherwise
    /// to PTX of the newest generation that it does know, which the driver compiles the rest of the way.
    pub(super) fn compile(&self, capability: c_int) -> Result<Vec<u8>, Absent> {
        if self.architectures.contains(&capability) {
            return Program::compiled(&format!("sm_{capability}"))?.machine_code();
        }
        match self.architectures.iter().rfind(|&&known| known < capability) {
            Some(known) => Program::compiled(&format!("compute_{known}"))?.ptx(),
            None => Err(Absent::DeviceTooOld {
                capability,
                compiler: self.version,
            }),
        }
    }
}

fn architectures() -> Result<Vec<c_int>, Absent> {
    let mut count = 0;
    // SAFETY: the pointer is to an integer that may be written.
    unsafe { sys::nvrtcGetNumSupportedArchs(&mut count) }.result()?;
    let mut architectures = vec![0; usize::try_from(count).unwrap_or(0)];
    // SAFETY: the pointer is to as many integers as the library said it writes.
    unsafe { sys::nvrtcGetSupportedArchs(architectures.as_mut_ptr()) }.result()?;
    architectures.sort_unstable();
    Ok(architectures)
}

/// A compiled program inside the library.
struct Program(sys::nvrtcProgram);

impl Program {
    fn compiled(architecture: &str) -> Result<Self, Absent> {
        let source = CString::new(KERNELS).map_err(|_| Absent::Kernels("a zero byte".into()))?;
        let program = Self(result::create_program(&source, Some(c"kernels.cu"))?);
        let options = [format!("--gpu-architecture={architecture}")];
        // SAFETY: the program was created and is destroyed when it is dropped; the source lives until then, since the
        // library has copied it.
        match unsafe { result::compile_program(program.0, &options) } {
            Ok(()) => Ok(program),
            Err(error) => {
                // SAFETY: as above.
                let log = unsafe { result::get_program_log(program.0) }.unwrap_or_default();
                let text: Vec<u8> = log
                    .into_iter()
                    .take_while(|&character| character != 0)
                    .map(|character| character as u8)
                    .collect();
                Err(Absent::Kernels(format!(
                    "{error} for {architecture}: {}",
                    String::from_utf8_lossy(&text)
                )))
            }
        }
    }

    fn machine_code(&self) -> Result<Vec<u8>, Absent> {
        let mut bytes = 0;
        // SAFETY: the program is compiled, and the pointer is to a size that may be written.
        unsafe { sys::nvrtcGetCUBINSize(self.0, &mut bytes) }.result()?;
        let mut image = vec![0_u8; bytes];
        // SAFETY: the pointer is to as many bytes as the library said it writes.
        unsafe { sys::nvrtcGetCUBIN(self.0, image.as_mut_ptr().cast::<c_char>()) }.result()?;
        Ok(image)
    }

    /// With the zero byte at its end that the driver wants.
    fn ptx(&self) -> Result<Vec<u8>, Absent> {
        // SAFETY: the program is compiled.
        let ptx = unsafe { result::get_ptx(self.0) }?;
        Ok(ptx.into_iter().map(|character| character as u8).collect())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let program = std::mem::replace(&mut self.0, ptr::null_mut());
        // SAFETY: it was created, and this is the only place that destroys it. Nobody can do anything about an error.
        let _ = unsafe { result::destroy_program(program) };
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Machines without a GPU can have the compiler: then the kernels are compiled for every GPU that it knows.
    #[test]
    fn the_kernels_compile_for_every_architecture() {
        let compiler = match Compiler::load() {
            Ok(compiler) => compiler,
            Err(absent @ Absent::NoCompiler) => {
                println!("skipped: {absent}");
                return;
            }
            Err(error) => panic!("{error}"),
        };
        println!("NVRTC {}: {:?}", compiler.version(), compiler.architectures());
        for &architecture in compiler.architectures() {
            assert!(compiler.compile(architecture).unwrap().starts_with(b"\x7fELF"));
        }
        let unknown = compiler.architectures().last().unwrap() + 1;
        let ptx = String::from_utf8(compiler.compile(unknown).unwrap()).unwrap();
        for kernel in ["fill", "walk", "walk_made", "fold"] {
            assert!(ptx.contains(&format!(".visible .entry {kernel}(")), "{kernel}");
        }
        assert!(ptx.ends_with('\0'));
        assert!(matches!(
            compiler.compile(10),
            Err(Absent::DeviceTooOld { capability: 10, .. })
        ));
    }
}
