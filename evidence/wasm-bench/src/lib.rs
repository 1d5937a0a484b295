//! Measures verification of evidence in WebAssembly, the form in which the chain runs it; `run.mjs` drives
//! it.
//!
//! ```text
//! ./scripts/evidence-samples /tmp/evidence
//! cargo build --release --target wasm32v1-none --manifest-path evidence/wasm-bench/Cargo.toml
//! node evidence/wasm-bench/run.mjs /tmp/evidence \
//!     "${CARGO_TARGET_DIR:-evidence/wasm-bench/target}"/wasm32v1-none/release/assay_evidence_wasm_bench.wasm
//! ```

#![no_std]

extern crate alloc;

use alloc::{boxed::Box, vec, vec::Vec};
use core::{
    alloc::{GlobalAlloc, Layout},
    cell::UnsafeCell,
    ptr,
};

use assay_evidence::{
    EvidenceError, RevocationList, TcbStatus, TrustRoots, VersionText,
    intel::{
        AttestationKey, Collateral, IntelPolicy, QeIdentity, Quote, TcbInfo, verify_attestation_key,
        verify_pck_chain, verify_qe_identity, verify_quote, verify_tcb_info,
    },
    nvidia::{
        Component, DeviceKey, GpuReport, NvidiaPolicy, Reference, ReferenceMeasurement, verify_device_key,
        verify_report as verify_gpu_report,
    },
    snp::{ChipKey, SnpPolicy, verify_chip_key, verify_report as verify_snp_report},
    vendor_roots,
};

/// Bump allocator: memory is freed only all at once, by [`reset`].
struct Bump(UnsafeCell<(usize, usize)>);

// SAFETY: this WebAssembly has one thread.
unsafe impl Sync for Bump {}

#[global_allocator]
static BUMP: Bump = Bump(UnsafeCell::new((0, 0)));

const PAGE_BYTES: usize = 65_536;

// SAFETY: allocations do not overlap: `next` only grows while they are in use, and never past the memory's
// end.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: this WebAssembly has one thread, and the reference ends with this function.
        let (next, end) = unsafe { &mut *self.0.get() };
        if *end == 0 {
            *next = core::arch::wasm32::memory_size::<0>() * PAGE_BYTES;
            *end = *next;
        }
        let start = (*next).next_multiple_of(layout.align());
        while start + layout.size() > *end {
            if core::arch::wasm32::memory_grow::<0>(16) == usize::MAX {
                return ptr::null_mut();
            }
            *end += 16 * PAGE_BYTES;
        }
        *next = start + layout.size();
        start as *mut u8
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}

/// Quote with everything that its verification needs.
struct Intel {
    quote: &'static [u8],
    chain: Vec<&'static [u8]>,
    tcb_info: &'static [u8],
    tcb_info_signature: [u8; 64],
    tcb_info_chain: Vec<&'static [u8]>,
    qe_identity: &'static [u8],
    qe_identity_signature: [u8; 64],
    lists: Vec<RevocationList>,
    verified_tcb_info: TcbInfo,
    verified_qe_identity: QeIdentity,
    key: AttestationKey,
    now_s: u64,
}

struct World {
    roots: TrustRoots,
    intel: Option<Intel>,
    amd: Option<(&'static [u8], Vec<&'static [u8]>, ChipKey)>,
    nvidia: Option<(&'static [u8], Vec<&'static [u8]>, DeviceKey, Vec<Reference>)>,
}

struct Shared(UnsafeCell<Option<World>>);

// SAFETY: this WebAssembly has one thread.
unsafe impl Sync for Shared {}

static WORLD: Shared = Shared(UnsafeCell::new(None));

/// 2026-01-01.
const NOW_S: u64 = 1_767_225_600;

/// Returns the place for the next input.
#[unsafe(no_mangle)]
pub extern "C" fn input(length: usize) -> *mut u8 {
    Box::leak(vec![0; length].into_boxed_slice()).as_mut_ptr()
}

/// Verifies the storable part of a vendor's evidence. Returns true on success.
///
/// # Safety
///
/// `pointer` comes from [`input`] with this length, and was written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn prepare(vendor: u32, pointer: *const u8, length: usize) -> u32 {
    // SAFETY: the caller's promise; the input is never freed.
    let parts = read_parts(unsafe { core::slice::from_raw_parts(pointer, length) });
    // SAFETY: this WebAssembly has one thread.
    let world = unsafe { &mut *WORLD.0.get() };
    prepare_vendor(world, vendor, &parts).is_ok().into()
}

/// Returns the position of the allocator, for a later [`reset`].
#[unsafe(no_mangle)]
pub extern "C" fn mark() -> usize {
    // SAFETY: this WebAssembly has one thread.
    unsafe { (*BUMP.0.get()).0 }
}

/// Frees all memory allocated since the mark.
///
/// # Safety
///
/// Nothing that was allocated since is in use.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn reset(mark: usize) {
    // SAFETY: this WebAssembly has one thread; the rest is the caller's promise.
    unsafe { (*BUMP.0.get()).0 = mark }
}

/// Does one piece of work. Returns true if the evidence was accepted.
#[unsafe(no_mangle)]
pub extern "C" fn run(work: u32) -> u32 {
    // SAFETY: this WebAssembly has one thread, and nothing writes while this runs.
    let world = unsafe { &*WORLD.0.get() };
    world
        .as_ref()
        .is_some_and(|world| do_work(world, work).is_some())
        .into()
}

/// Reads byte strings, each preceded by its length in four bytes.
fn read_parts(mut bytes: &'static [u8]) -> Vec<&'static [u8]> {
    let mut parts = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let (part, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
        parts.push(part);
        bytes = rest;
    }
    parts
}

fn policy() -> IntelPolicy {
    IntelPolicy {
        accepted: vec![TcbStatus::ConfigurationAndSwHardeningNeeded]
            .try_into()
            .unwrap_or_default(),
        ..IntelPolicy::strict()
    }
}

const SNP_POLICY: SnpPolicy = SnpPolicy {
    floor: assay_evidence::snp::SnpFloor {
        milan: NOTHING,
        genoa: NOTHING,
        turin: NOTHING,
    },
    max_vmpl: 0,
    allow_smt: true,
    allow_cloud_keys: false,
    require_list: false,
};

const NOTHING: assay_evidence::snp::SnpTcb = assay_evidence::snp::SnpTcb {
    fmc: 0,
    boot_loader: 0,
    tee: 0,
    snp: 0,
    microcode: 0,
};

const GPU_POLICY: NvidiaPolicy = NvidiaPolicy { require_lists: false };

fn prepare_vendor(
    world: &mut Option<World>,
    vendor: u32,
    parts: &[&'static [u8]],
) -> Result<(), EvidenceError> {
    let roots = vendor_roots()?;
    let world = world.get_or_insert(World {
        roots: roots.clone(),
        intel: None,
        amd: None,
        nvidia: None,
    });
    match (vendor, parts) {
        (
            0,
            &[
                now,
                quote,
                leaf,
                authority,
                root_list,
                list,
                info,
                info_signature,
                signer,
                identity,
                identity_signature,
            ],
        ) => {
            let now_s = now.try_into().map_or(0, u64::from_le_bytes);
            let root_list = RevocationList::verify(root_list, None, &roots.intel, &[], now_s)?;
            let list = RevocationList::verify(list, Some(authority), &roots.intel, &[], now_s)?;
            let lists = vec![root_list, list];
            let tcb_info_signature = info_signature.try_into().unwrap_or([0; 64]);
            let qe_identity_signature = identity_signature.try_into().unwrap_or([0; 64]);
            let signer = vec![signer];
            let chain = vec![leaf, authority];
            let verified_tcb_info =
                verify_tcb_info(info, &tcb_info_signature, &signer, &roots, &lists, now_s)?;
            let verified_qe_identity =
                verify_qe_identity(identity, &qe_identity_signature, &signer, &roots, &lists, now_s)?;
            let pck = verify_pck_chain(&chain, &roots, &lists, now_s)?;
            let key = verify_attestation_key(&Quote::read(quote)?, pck)?;
            world.intel = Some(Intel {
                quote,
                chain,
                tcb_info: info,
                tcb_info_signature,
                tcb_info_chain: signer,
                qe_identity: identity,
                qe_identity_signature,
                lists,
                verified_tcb_info,
                verified_qe_identity,
                key,
                now_s,
            });
        }
        (1, &[report, ref chain @ ..]) => {
            let key = verify_chip_key(chain, &roots, &[], false, NOW_S)?;
            world.amd = Some((report, chain.to_vec(), key));
        }
        (2, &[report, ref chain @ ..]) => {
            let key = verify_device_key(chain, &roots, &[], false, NOW_S)?;
            let references = references(&GpuReport::read(report)?);
            world.nvidia = Some((report, chain.to_vec(), key, references));
        }
        _ => return Err(EvidenceError::WrongChainLength),
    }
    Ok(())
}

/// Returns one reference measurement for each active one in NVIDIA's files, with the report's values.
fn references(report: &GpuReport<'_>) -> Vec<Reference> {
    let reference = |component, board, version, indices: core::ops::RangeInclusive<u8>| Reference {
        component,
        chip: VersionText::truncate_from(b"GH100".to_vec()),
        board,
        version,
        measurements: indices
            .filter_map(|index| {
                Some(ReferenceMeasurement {
                    index,
                    alternatives: vec![report.measurement(index)?.try_into().ok()?]
                        .try_into()
                        .ok()?,
                })
            })
            .collect::<Vec<_>>()
            .try_into()
            .unwrap_or_default(),
    };
    vec![
        reference(
            Component::Driver,
            VersionText::default(),
            report.driver_version().unwrap_or_default(),
            1..=21,
        ),
        reference(
            Component::Vbios,
            report.board().unwrap_or_default(),
            report.vbios_version().unwrap_or_default(),
            30..=41,
        ),
    ]
}

fn do_work(world: &World, work: u32) -> Option<()> {
    let roots = &world.roots;
    match work {
        0..=3 => {
            let intel = world.intel.as_ref()?;
            let (lists, now_s) = (&intel.lists, intel.now_s);
            let collateral = Collateral {
                tcb_info: &intel.verified_tcb_info,
                qe_identity: &intel.verified_qe_identity,
                lists,
            };
            match work {
                0 => {
                    let quote = Quote::read(intel.quote).ok()?;
                    let pck = verify_pck_chain(&intel.chain, roots, lists, now_s).ok()?;
                    let key = verify_attestation_key(&quote, pck).ok()?;
                    let _ = verify_quote(&quote, &key, collateral, roots, &policy(), now_s).ok()?;
                }
                1 => {
                    let quote = Quote::read(intel.quote).ok()?;
                    let _ = verify_quote(&quote, &intel.key, collateral, roots, &policy(), now_s).ok()?;
                }
                2 => {
                    let (json, signature) = (intel.tcb_info, &intel.tcb_info_signature);
                    verify_tcb_info(json, signature, &intel.tcb_info_chain, roots, lists, now_s).ok()?;
                }
                _ => {
                    let (json, signature) = (intel.qe_identity, &intel.qe_identity_signature);
                    verify_qe_identity(json, signature, &intel.tcb_info_chain, roots, lists, now_s).ok()?;
                }
            }
        }
        4 | 5 => {
            let (report, chain, key) = world.amd.as_ref()?;
            let fresh = if work == 4 {
                Some(verify_chip_key(chain, roots, &[], false, NOW_S).ok()?)
            } else {
                None
            };
            let key = fresh.as_ref().unwrap_or(key);
            let _ = verify_snp_report(report, key, &[], roots, &SNP_POLICY, NOW_S).ok()?;
        }
        6 | 7 => {
            let (report, chain, key, references) = world.nvidia.as_ref()?;
            let fresh = if work == 6 {
                Some(verify_device_key(chain, roots, &[], false, NOW_S).ok()?)
            } else {
                None
            };
            let key = fresh.as_ref().unwrap_or(key);
            let report = GpuReport::read(report).ok()?;
            let _ = verify_gpu_report(&report, key, references, &[], roots, &GPU_POLICY, NOW_S).ok()?;
        }
        _ => return None,
    }
    Some(())
}
