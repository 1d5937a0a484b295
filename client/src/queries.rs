//! Queries of the chain's state. Every query reads the best block.

use assay_primitives::{
    clock::EpochIndex,
    machine::{HardwareClassId, MachineId},
    money::Balance,
};
use scale_decode::DecodeAsType;
use subxt::ext::frame_decode::storage::{IntoDecodableValues, IntoEncodableValues};

use crate::{
    client::{AtBlock, ChainClient},
    error::{Error, from_subxt},
    types::{
        AccountBalance, Assignment, Bond, ClassTerms, Clock, Debt, Emission, EpochRecord, HardwareClass, Job,
        JobId, Machine, ManifestRef, Provider, Slash, SlashId,
    },
};

/// Part of the chain's record of an account.
#[derive(DecodeAsType)]
pub(crate) struct AccountRecord {
    data: AccountData,
}

#[derive(DecodeAsType)]
pub(crate) struct AccountData {
    free: Balance,
    reserved: Balance,
    frozen: Balance,
}

/// Reads one value of a block's state; `None` where there is none and the pallet names no default.
pub(crate) async fn value<K, V>(
    at: &AtBlock,
    pallet: &'static str,
    entry: &'static str,
    keys: K,
) -> Result<Option<V>, Error>
where
    K: IntoEncodableValues + IntoDecodableValues,
    V: DecodeAsType,
{
    let found = at
        .storage()
        .try_fetch(subxt::dynamic::storage::<K, V>(pallet, entry), keys)
        .await
        .map_err(from_subxt)?;
    found.map(|value| value.decode().map_err(from_subxt)).transpose()
}

/// Reads a value that always is there.
async fn required<V: DecodeAsType>(
    at: &AtBlock,
    pallet: &'static str,
    entry: &'static str,
) -> Result<V, Error> {
    value(at, pallet, entry, ())
        .await?
        .ok_or_else(|| Error::Incompatible {
            reason: format!("{pallet}::{entry} has no value"),
        })
}

/// Returns the minimum bond for this number of slots with these terms, in plancks, by the chain's constants.
/// These come with the metadata, so they are those of the time when this client connected.
fn minimum_bond(at: &AtBlock, terms: ClassTerms, slots: u8) -> Result<Balance, Error> {
    let constant = |pallet, name| {
        at.constants()
            .entry(subxt::dynamic::constant::<Balance>(pallet, name))
            .map_err(from_subxt)
    };
    let bond_per_point = constant("ProviderRegistry", "BondPerPoint")?;
    let base_bond = constant("ProviderStaking", "BaseBond")?;
    Ok(terms.class_stake(slots, bond_per_point).max(base_bond))
}

/// Reads an account's balances in a block's state.
pub(crate) async fn balance_of(at: &AtBlock, account: &[u8; 32]) -> Result<AccountBalance, Error> {
    let record: Option<AccountRecord> = value(at, "System", "Account", (*account,)).await?;
    Ok(
        record.map_or_else(AccountBalance::default, |record| AccountBalance {
            free: record.data.free,
            held: record.data.reserved,
            frozen: record.data.frozen,
        }),
    )
}

impl ChainClient {
    /// Returns a machine's record.
    pub async fn machine(&self, id: MachineId) -> Result<Option<Machine>, Error> {
        value(&self.at_best().await?, "ProviderRegistry", "Machines", (id,)).await
    }

    /// Returns the number of the machine that is registered next.
    pub async fn next_machine_id(&self) -> Result<MachineId, Error> {
        required(&self.at_best().await?, "ProviderRegistry", "NextMachineId").await
    }

    /// Returns a machine's uptime on chain before any validator measured it, in parts per million.
    pub async fn initial_uptime_ppm(&self) -> Result<u32, Error> {
        let address = subxt::dynamic::constant::<u32>("Availability", "InitialUptimePpm");
        self.at_best()
            .await?
            .constants()
            .entry(address)
            .map_err(from_subxt)
    }

    /// Returns every machine in the order of registration. Reads all of them, one page at a time.
    pub async fn machines(&self) -> Result<Vec<(MachineId, Machine)>, Error> {
        let at = self.at_best().await?;
        let address = subxt::dynamic::storage::<(MachineId,), Machine>("ProviderRegistry", "Machines");
        let mut entries = at.storage().iter(address, ()).await.map_err(from_subxt)?;
        let mut machines = Vec::new();
        while let Some(entry) = entries.next().await {
            let entry = entry.map_err(from_subxt)?;
            let (id,) = entry.key().map_err(from_subxt)?.decode().map_err(from_subxt)?;
            machines.push((id, entry.value().decode().map_err(from_subxt)?));
        }
        machines.sort_unstable_by_key(|(id, _)| *id);
        Ok(machines)
    }

    /// Returns the machine that a worker key acts for.
    pub async fn machine_of_worker(&self, worker: &[u8; 32]) -> Result<Option<MachineId>, Error> {
        value(
            &self.at_best().await?,
            "ProviderRegistry",
            "WorkerKeys",
            (*worker,),
        )
        .await
    }

    /// Returns an account's record as a provider.
    pub async fn provider(&self, account: &[u8; 32]) -> Result<Option<Provider>, Error> {
        value(
            &self.at_best().await?,
            "ProviderRegistry",
            "Providers",
            (*account,),
        )
        .await
    }

    /// Returns the hardware class of this name.
    pub async fn hardware_class(
        &self,
        name: &str,
    ) -> Result<Option<(HardwareClassId, HardwareClass)>, Error> {
        let classes = self.hardware_classes().await?;
        Ok(classes
            .into_iter()
            .find(|(_, class)| class.name.as_bytes() == name.as_bytes()))
    }

    /// Returns the hardware class catalogue.
    pub async fn hardware_classes(&self) -> Result<Vec<(HardwareClassId, HardwareClass)>, Error> {
        let at = self.at_best().await?;
        let address = subxt::dynamic::storage::<(HardwareClassId,), HardwareClass>(
            "ProviderRegistry",
            "HardwareClasses",
        );
        let mut entries = at.storage().iter(address, ()).await.map_err(from_subxt)?;
        let mut classes = Vec::new();
        while let Some(entry) = entries.next().await {
            let entry = entry.map_err(from_subxt)?;
            let (id,) = entry.key().map_err(from_subxt)?.decode().map_err(from_subxt)?;
            classes.push((id, entry.value().decode().map_err(from_subxt)?));
        }
        classes.sort_unstable_by_key(|(id, _)| *id);
        Ok(classes)
    }

    /// Returns the minimum bond of a machine of this class with this number of slots, in plancks.
    pub async fn minimum_bond(&self, class: HardwareClassId, slots: u8) -> Result<Balance, Error> {
        let at = self.at_best().await?;
        let record: HardwareClass = value(&at, "ProviderRegistry", "HardwareClasses", (class,))
            .await?
            .ok_or_else(|| Error::Incompatible {
                reason: format!("there is no hardware class {class}; governance keeps the catalogue"),
            })?;
        let terms = ClassTerms {
            compute_score: record.compute_score,
            stake_per_slot: record.stake_per_slot,
        };
        minimum_bond(&at, terms, slots)
    }

    /// Returns the minimum bond of a registered machine, in plancks.
    pub async fn minimum_bond_of(&self, machine: &Machine) -> Result<Balance, Error> {
        minimum_bond(&self.at_best().await?, machine.terms, machine.slots)
    }

    /// Returns a machine's bond.
    pub async fn bond(&self, machine: MachineId) -> Result<Option<Bond>, Error> {
        value(&self.at_best().await?, "ProviderStaking", "Bonds", (machine,)).await
    }

    /// Returns a machine's pending slashes. Reads those of all machines, one page at a time: call it only if
    /// [`Bond::pending_slashes`] is not zero.
    pub async fn pending_slashes(&self, machine: MachineId) -> Result<Vec<(SlashId, Slash)>, Error> {
        let at = self.at_best().await?;
        let address = subxt::dynamic::storage::<(EpochIndex, u32), Slash>("ProviderStaking", "Agenda");
        let mut entries = at.storage().iter(address, ()).await.map_err(from_subxt)?;
        let mut slashes = Vec::new();
        while let Some(entry) = entries.next().await {
            let entry = entry.map_err(from_subxt)?;
            let slash: Slash = entry.value().decode().map_err(from_subxt)?;
            if slash.machine == machine {
                let (due_epoch, index) = entry.key().map_err(from_subxt)?.decode().map_err(from_subxt)?;
                slashes.push((SlashId { due_epoch, index }, slash));
            }
        }
        slashes.sort_unstable_by_key(|(id, _)| *id);
        Ok(slashes)
    }

    /// Returns a machine's debts.
    pub async fn debts(&self, machine: MachineId) -> Result<Vec<(SlashId, Debt)>, Error> {
        let at = self.at_best().await?;
        // The second key is a record of two numbers, which a pair reads as well.
        let address =
            subxt::dynamic::storage::<(MachineId, (EpochIndex, u32)), Debt>("ProviderStaking", "Debts");
        let mut entries = at.storage().iter(address, (machine,)).await.map_err(from_subxt)?;
        let mut debts = Vec::new();
        while let Some(entry) = entries.next().await {
            let entry = entry.map_err(from_subxt)?;
            let (_, (due_epoch, index)) = entry.key().map_err(from_subxt)?.decode().map_err(from_subxt)?;
            debts.push((
                SlashId { due_epoch, index },
                entry.value().decode().map_err(from_subxt)?,
            ));
        }
        debts.sort_unstable_by_key(|(id, _)| *id);
        Ok(debts)
    }

    /// Returns the number of the next job; those with lower numbers are open or closed.
    pub async fn next_job_id(&self) -> Result<JobId, Error> {
        required(&self.at_best().await?, "JobEscrow", "NextJobId").await
    }

    /// Returns a job that is not closed.
    pub async fn job(&self, id: JobId) -> Result<Option<Job>, Error> {
        value(&self.at_best().await?, "JobEscrow", "Jobs", (id,)).await
    }

    /// Returns a machine's assignment of a job.
    pub async fn assignment(&self, job: JobId, machine: MachineId) -> Result<Option<Assignment>, Error> {
        value(&self.at_best().await?, "JobEscrow", "Assignments", (job, machine)).await
    }

    /// Returns the assignments of a job, by machine.
    pub async fn assignments(&self, job: JobId) -> Result<Vec<(MachineId, Assignment)>, Error> {
        let at = self.at_best().await?;
        let address = subxt::dynamic::storage::<(JobId, MachineId), Assignment>("JobEscrow", "Assignments");
        let mut entries = at.storage().iter(address, (job,)).await.map_err(from_subxt)?;
        let mut assignments = Vec::new();
        while let Some(entry) = entries.next().await {
            let entry = entry.map_err(from_subxt)?;
            let (_, machine) = entry.key().map_err(from_subxt)?.decode().map_err(from_subxt)?;
            assignments.push((machine, entry.value().decode().map_err(from_subxt)?));
        }
        assignments.sort_unstable_by_key(|(machine, _)| *machine);
        Ok(assignments)
    }

    /// Returns the jobs of a machine's assignments.
    pub async fn jobs_of_machine(&self, machine: MachineId) -> Result<Vec<JobId>, Error> {
        let at = self.at_best().await?;
        let address = subxt::dynamic::storage::<(MachineId, JobId), ()>("JobEscrow", "MachineJobs");
        let mut entries = at.storage().iter(address, (machine,)).await.map_err(from_subxt)?;
        let mut jobs = Vec::new();
        while let Some(entry) = entries.next().await {
            let (_, job) = entry
                .map_err(from_subxt)?
                .key()
                .map_err(from_subxt)?
                .decode()
                .map_err(from_subxt)?;
            jobs.push(job);
        }
        jobs.sort_unstable();
        Ok(jobs)
    }

    /// Returns the bytes of a manifest; `None` if the chain does not have them.
    pub async fn manifest_bytes(&self, manifest: &ManifestRef) -> Result<Option<Vec<u8>>, Error> {
        let key = ((manifest.hash.0, manifest.length_bytes),);
        value(&self.at_best().await?, "Preimage", "PreimageFor", key).await
    }

    /// Returns the balances of an account; zeros if the chain does not know it.
    pub async fn balance(&self, account: &[u8; 32]) -> Result<AccountBalance, Error> {
        balance_of(&self.at_best().await?, account).await
    }

    /// Returns the total issuance, in plancks.
    pub async fn total_issuance(&self) -> Result<Balance, Error> {
        required(&self.at_best().await?, "Balances", "TotalIssuance").await
    }

    /// Returns the active time and its epoch.
    pub async fn clock(&self) -> Result<Clock, Error> {
        let at = self.at_best().await?;
        Ok(Clock {
            active_time_ms: required(&at, "ChainClock", "ActiveTimeMs").await?,
            epoch: required(&at, "ChainClock", "CurrentEpoch").await?,
            epoch_duration_ms: required(&at, "ChainClock", "EpochDurationMs").await?,
        })
    }

    /// Reads the remaining emission, the weights that share it, and its cap.
    pub async fn emission(&self) -> Result<Emission, Error> {
        let at = self.at_best().await?;
        let cap_per_weight = at
            .constants()
            .entry(subxt::dynamic::constant::<Balance>(
                "RewardEmission",
                "CapPerWeight",
            ))
            .map_err(from_subxt)?;
        Ok(Emission {
            remaining: required(&at, "RewardEmission", "RemainingEmission").await?,
            total_weight: required(&at, "RewardEmission", "TotalWeight").await?,
            cap_per_weight,
        })
    }

    /// Returns the accounts of an epoch; zeros for one that has not begun or that the chain forgot.
    pub async fn epoch_record(&self, epoch: EpochIndex) -> Result<EpochRecord, Error> {
        value(&self.at_best().await?, "RewardEmission", "EpochRecords", (epoch,))
            .await?
            .ok_or_else(|| Error::Incompatible {
                reason: "RewardEmission::EpochRecords has no default".to_owned(),
            })
    }
}
