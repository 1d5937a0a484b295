//! NVRTC, NVIDIA's compiler library, loaded at run time.
#![allow(unsafe_code)]

use std::{
    collections::BTreeMap,
    ffi::{CString, c_char, c_int},
    ptr,
    sync::{Arc, Mutex, PoisonError},
};

use cudarc::nvrtc::{result, sys};

use super::CudaError;

/// Source of all kernels.
const KERNELS: &str = include_str!("kernels.cu");

/// Oldest NVRTC that compiles to machine code.
const OLDEST: Version = Version { major: 11, minor: 2 };

/// Version of CUDA.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Version {
    /// Major version.
    pub major: i32,
    /// Minor version.
    pub minor: i32,
}

impl std::fmt::Display for Version {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}.{}", self.major, self.minor)
    }
}

/// Loaded NVRTC of a supported version.
#[derive(Clone, Debug)]
pub(super) struct Compiler {
    version: Version,
    /// Compute capabilities times ten, ascending.
    architectures: Vec<c_int>,
}

impl Compiler {
    pub(super) fn load() -> Result<Self, CudaError> {
        // SAFETY: loading NVIDIA's library runs its initialisers, which have no preconditions.
        if !unsafe { sys::is_culib_present() } {
            return Err(CudaError::NoCompiler);
        }
        let (mut major, mut minor) = (0, 0);
        // SAFETY: both pointers are to writable integers.
        unsafe { sys::nvrtcVersion(&mut major, &mut minor) }.result()?;
        let version = Version { major, minor };
        if version < OLDEST {
            return Err(CudaError::CompilerTooOld {
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

    /// Returns the compute capabilities times ten for which it compiles to machine code.
    #[cfg(test)]
    pub(super) fn architectures(&self) -> &[c_int] {
        &self.architectures
    }

    /// Returns the result of [`Self::compile`], compiled once per capability and process: a round's deadline
    /// leaves no time to repeat it for every slot.
    pub(super) fn compiled(&self, capability: c_int) -> Result<Arc<Vec<u8>>, CudaError> {
        static COMPILED: Mutex<BTreeMap<c_int, Arc<Vec<u8>>>> = Mutex::new(BTreeMap::new());
        // Several GPUs of one kind wait for the first to compile.
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
    /// Produces machine code if the compiler knows the GPU: the driver may then be older than the compiler.
    /// Otherwise produces PTX of the newest known generation, which the driver compiles further.
    pub(super) fn compile(&self, capability: c_int) -> Result<Vec<u8>, CudaError> {
        if self.architectures.contains(&capability) {
            return Program::compiled(&format!("sm_{capability}"))?.machine_code();
        }
        match self.architectures.iter().rfind(|&&known| known < capability) {
            Some(known) => Program::compiled(&format!("compute_{known}"))?.ptx(),
            None => Err(CudaError::DeviceTooOld {
                capability,
                compiler: self.version,
            }),
        }
    }
}

fn architectures() -> Result<Vec<c_int>, CudaError> {
    let mut count = 0;
    // SAFETY: the pointer is to a writable integer.
    unsafe { sys::nvrtcGetNumSupportedArchs(&mut count) }.result()?;
    let mut architectures = vec![0; usize::try_from(count).unwrap_or(0)];
    // SAFETY: the pointer is to as many integers as the library announced.
    unsafe { sys::nvrtcGetSupportedArchs(architectures.as_mut_ptr()) }.result()?;
    architectures.sort_unstable();
    Ok(architectures)
}

/// Compiled program inside the library.
struct Program(sys::nvrtcProgram);

impl Program {
    fn compiled(architecture: &str) -> Result<Self, CudaError> {
        let source = CString::new(KERNELS).map_err(|_| CudaError::Kernels("a zero byte".into()))?;
        let program = Self(result::create_program(&source, Some(c"kernels.cu"))?);
        let options = [format!("--gpu-architecture={architecture}")];
        // SAFETY: the program exists until it is dropped. The library copied the source.
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
                Err(CudaError::Kernels(format!(
                    "{error} for {architecture}: {}",
                    String::from_utf8_lossy(&text)
                )))
            }
        }
    }

    fn machine_code(&self) -> Result<Vec<u8>, CudaError> {
        let mut bytes = 0;
        // SAFETY: the program is compiled, and the pointer is to a writable size.
        unsafe { sys::nvrtcGetCUBINSize(self.0, &mut bytes) }.result()?;
        let mut image = vec![0_u8; bytes];
        // SAFETY: the pointer is to as many bytes as the library announced.
        unsafe { sys::nvrtcGetCUBIN(self.0, image.as_mut_ptr().cast::<c_char>()) }.result()?;
        Ok(image)
    }

    /// Returns the PTX with its final zero byte, which the driver requires.
    fn ptx(&self) -> Result<Vec<u8>, CudaError> {
        // SAFETY: the program is compiled.
        let ptx = unsafe { result::get_ptx(self.0) }?;
        Ok(ptx.into_iter().map(|character| character as u8).collect())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let program = std::mem::replace(&mut self.0, ptr::null_mut());
        // SAFETY: the program was created and is destroyed only here. An error at this point has no remedy.
        let _ = unsafe { result::destroy_program(program) };
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Machines without a GPU can have the compiler: it then compiles the kernels for every GPU that it
    /// knows.
    #[test]
    fn the_kernels_compile_for_every_architecture() {
        let compiler = match Compiler::load() {
            Ok(compiler) => compiler,
            Err(absent @ CudaError::NoCompiler) => {
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
            Err(CudaError::DeviceTooOld { capability: 10, .. })
        ));
    }
}
