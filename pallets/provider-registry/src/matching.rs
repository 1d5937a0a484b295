//! Comparison of machines with a consumer's requirements.

use alloc::vec::Vec;

use assay_primitives::{
    attestation::Attestations,
    clock::ActiveClock,
    machine::{MachineId, MachineStatus},
    market::{FindError, Gap, MachineMatching, MachineView, Mismatch, Requirements},
    money::Balance,
};

use crate::{
    Config, HardwareClassIds, HardwareClassRecord, HardwareClasses, MachineRecordOf, Machines, Pallet, geo,
};

const METRES_PER_KM: u32 = 1_000;

/// Minimum requirement: its mismatch, the wanted value, and the machine's value.
type Minimum = (fn(Gap) -> Mismatch, u32, u32);

impl<T: Config> Pallet<T> {
    /// Checks that the requirements can be compared with machines: known class, valid location, bounded
    /// numbers.
    pub(crate) fn check_requirements(requirements: &Requirements) -> Result<(), FindError> {
        if let Some(name) = &requirements.gpu_type
            && !HardwareClassIds::<T>::contains_key(name)
        {
            return Err(FindError::UnknownGpuType);
        }
        requirements.check_form()
    }

    /// Returns the requirements that a machine does not meet; see
    /// [`assay_primitives::api::ComputeMarketApi`].
    ///
    /// Searches and deployments use the same comparison.
    pub fn explain(
        requirements: &Requirements,
        machine: MachineId,
    ) -> Result<Option<Vec<Mismatch>>, FindError> {
        Self::check_requirements(requirements)?;
        let Some((record, class)) = Self::machine_and_class(machine) else {
            return Ok(None);
        };
        let mut mismatches = Self::mismatches(requirements, machine, &record, &class);
        if let Some(mismatch) = Self::nodes_mismatch(requirements, &record.provider).0 {
            mismatches.push(mismatch);
        }
        Ok(Some(mismatches))
    }

    /// Returns a machine as the market shows it; see [`assay_primitives::api::ComputeMarketApi`].
    pub fn machine_view(machine: MachineId) -> Option<MachineView<T::AccountId>> {
        let (record, class) = Self::machine_and_class(machine)?;
        Some(Self::view(&Requirements::default(), machine, record, &class))
    }

    pub(crate) fn machine_and_class(machine: MachineId) -> Option<(MachineRecordOf<T>, HardwareClassRecord)> {
        let record = Machines::<T>::get(machine)?;
        let class = HardwareClasses::<T>::get(record.class)?;
        Some((record, class))
    }

    /// Returns the ask that is valid now. Reads the clock only if a raise was announced.
    pub(crate) fn ask_now(record: &MachineRecordOf<T>) -> Balance {
        match record.raise {
            Some(_) => record.ask_at(T::Clock::now_ms()),
            None => record.ask,
        }
    }

    /// Returns every requirement that the machine does not meet, except for the number of its provider's
    /// machines.
    pub(crate) fn mismatches(
        requirements: &Requirements,
        machine: MachineId,
        record: &MachineRecordOf<T>,
        class: &HardwareClassRecord,
    ) -> Vec<Mismatch> {
        let wanted = requirements;
        let share = |whole: u32| slots_share(whole, wanted.slots(), record.slots);
        let mut found = Vec::new();

        if record.status != MachineStatus::Active {
            found.push(Mismatch::Status { found: record.status });
        }
        if wanted.gpu_type.as_ref().is_some_and(|name| *name != class.name) {
            found.push(Mismatch::GpuType {
                found: class.name.clone(),
            });
        }
        let minimums: [Minimum; 10] = [
            (
                Mismatch::MinFreeSlots,
                wanted.slots().into(),
                record.free_slots.into(),
            ),
            (Mismatch::MinVramMib, wanted.min_vram_mib, class.vram_mib),
            (Mismatch::MinCudaCores, wanted.min_cuda_cores, class.cuda_cores),
            (
                Mismatch::MinComputeScore,
                wanted.min_compute_score,
                class.compute_score,
            ),
            (
                Mismatch::MinCpuCores,
                wanted.min_cpu_cores,
                share(record.cpu_cores.into()),
            ),
            (Mismatch::MinRamMib, wanted.min_ram_mib, share(record.ram_mib)),
            (Mismatch::MinDiskGib, wanted.min_disk_gib, share(record.disk_gib)),
            (
                Mismatch::MinUploadMbps,
                wanted.min_upload_mbps,
                record.upload_mbps,
            ),
            (
                Mismatch::MinDownloadMbps,
                wanted.min_download_mbps,
                record.download_mbps,
            ),
            (Mismatch::MinUptimePpm, wanted.min_uptime_ppm, record.uptime_ppm),
        ];
        for (mismatch, wanted, has) in minimums {
            if has < wanted {
                found.push(mismatch(Gap { wanted, found: has }));
            }
        }
        if wanted
            .region
            .as_ref()
            .is_some_and(|region| *region != record.region)
        {
            found.push(Mismatch::Region {
                found: record.region.clone(),
            });
        }
        if let Some(near) = wanted.near {
            let distance_km = geo::distance_m(near.center, record.location).div_ceil(METRES_PER_KM);
            if distance_km > near.within_km {
                found.push(Mismatch::WithinKm(Gap {
                    wanted: near.within_km,
                    found: distance_km,
                }));
            }
        }
        let ask = Self::ask_now(record);
        if wanted.max_price_per_slot_hour.is_some_and(|price| ask > price) {
            found.push(Mismatch::MaxPricePerSlotHour { found: ask });
        }
        if let Some(kind) = wanted.tee {
            let kinds = T::Attestations::tee_kinds(machine);
            if !kinds.contains(kind) {
                found.push(Mismatch::Tee { found: kinds });
            }
        }
        found
    }

    /// Returns the machine as the market shows it to a consumer with these requirements.
    pub(crate) fn view(
        requirements: &Requirements,
        machine: MachineId,
        record: MachineRecordOf<T>,
        class: &HardwareClassRecord,
    ) -> MachineView<T::AccountId> {
        let now_ms = T::Clock::now_ms();
        let (ask, raise) = (record.ask_at(now_ms), record.raise_after(now_ms));
        MachineView {
            machine,
            provider: record.provider,
            worker_key: record.worker_key,
            sealing_key: record.sealing_key,
            status: record.status,
            class: record.class,
            gpu_type: class.name.clone(),
            vram_mib: class.vram_mib,
            cuda_cores: class.cuda_cores,
            compute_score: class.compute_score,
            slots: record.slots,
            free_slots: record.free_slots,
            cpu_cores: record.cpu_cores,
            ram_mib: record.ram_mib,
            disk_gib: record.disk_gib,
            upload_mbps: record.upload_mbps,
            download_mbps: record.download_mbps,
            region: record.region,
            location: record.location,
            distance_m: requirements
                .near
                .map(|near| geo::distance_m(near.center, record.location)),
            endpoint: record.endpoint,
            price_per_slot_hour: ask,
            next_price_per_slot_hour: raise.map(|raise| raise.ask),
            next_price_from_ms: raise.map(|raise| raise.from_ms),
            price_per_tflops_hour: (class.compute_score > 0)
                .then(|| ask.div_ceil(class.compute_score.into())),
            uptime_ppm: record.uptime_ppm,
            tee_kinds: T::Attestations::tee_kinds(machine),
            service: record.service,
        }
    }
}

impl<T: Config> MachineMatching for Pallet<T> {
    fn check(requirements: &Requirements) -> Result<(), FindError> {
        Self::check_requirements(requirements)
    }

    fn meets(requirements: &Requirements, machine: MachineId) -> bool {
        Self::check_requirements(requirements).is_ok()
            && Self::machine_and_class(machine).is_some_and(|(record, class)| {
                Self::mismatches(requirements, machine, &record, &class).is_empty()
            })
    }

    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_requirements(machine: MachineId) -> Requirements {
        crate::benchmarking::strictest_requirements::<T>(machine)
    }
}

/// Returns the share of `wanted_slots` slots in a resource of the whole host, rounded down.
fn slots_share(whole: u32, wanted_slots: u8, slots: u8) -> u32 {
    let share = u64::from(whole)
        .saturating_mul(wanted_slots.min(slots).into())
        .checked_div(slots.into())
        .unwrap_or(0);
    // Never more than the whole.
    u32::try_from(share).unwrap_or(u32::MAX)
}
