//! Prover for all GPUs.

use std::time::{Duration, Instant};

use assay_proof::{
    ChallengeParams, Hash, SlotProof,
    prover::{Commitment, Progress, Prover, ProverError, Stage, Tree, Watch, check_lanes},
};

use crate::{
    device::{Device, Fill, HardwareLimits, Layout, Source, Walk, seed_words},
    pace::{Pace, Slices},
    sizing::Plan,
};

/// Items of the first slice: some milliseconds on a slow device.
const FIRST_ITEMS: u64 = 1 << 12;

/// Lanes of the first slice.
const FIRST_LANES: u64 = 1 << 10;

/// Options of a GPU's prover.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GpuOptions {
    /// Maximum device memory of a challenge, in bytes; all free memory if `None`.
    pub memory_limit_bytes: Option<u64>,
    /// Sharing of the device with jobs and the display.
    pub pace: Pace,
}

/// Prover on the memory and the cores of one GPU.
///
/// It occupies the device's memory only while [`Prover::commit`] runs. Afterwards it keeps the tree above
/// subtrees of 2^10 lanes, in the memory of the host. [`Prover::open`] walks the lanes of a subtree again and
/// makes their items at every read, which is so little work for a GPU that no stored items are needed.
pub struct GpuProver {
    device: Box<dyn Device>,
    options: GpuOptions,
    held: Option<HeldCommitment>,
}

/// State that the latest commit keeps for its opening.
struct HeldCommitment {
    commitment: Commitment,
    subtree_lanes_log2: u8,
    /// All levels above the subtrees.
    tree: Tree,
}

impl GpuProver {
    pub(crate) fn new(device: Box<dyn Device>, options: GpuOptions) -> Self {
        Self {
            device,
            options,
            held: None,
        }
    }

    /// Returns the limits of the hardware, as its interface reports them.
    pub fn limits(&self) -> HardwareLimits {
        self.device.limits()
    }

    /// Returns the bytes of the device's memory that a challenge may take now; `None` if nothing reports
    /// them.
    pub fn free_bytes(&self) -> Result<Option<u64>, ProverError> {
        let free_bytes = self.device.free_bytes()?;
        Ok([free_bytes, self.options.memory_limit_bytes]
            .into_iter()
            .flatten()
            .min())
    }

    /// Sets the sharing of the device, from the next commit on.
    pub fn set_pace(&mut self, pace: Pace) {
        self.options.pace = pace;
    }

    /// Returns the highest rate in bytes per second at which the device reads when it copies its own memory;
    /// as many are written meanwhile.
    ///
    /// Takes the best of some copies of `half_bytes`, or of less if the interface allows no more.
    pub fn copy_bytes_per_second(&mut self, half_bytes: u64) -> Result<f64, ProverError> {
        const COPIES: u32 = 5;
        let bytes = self.device.copy_buffers(half_bytes)?;
        let best = (0..COPIES).try_fold(0.0, |best: f64, _| {
            let start = Instant::now();
            self.device.copy()?;
            Ok(best.max(bytes as f64 / start.elapsed().as_secs_f64()))
        });
        self.device.free();
        best
    }

    /// Returns the layout of a challenge in the memory that is free now.
    pub fn plan(&self, params: &ChallengeParams) -> Result<Plan, ProverError> {
        let plan = Plan::new(params, self.free_bytes()?)?;
        let most_items = self.device.most_items();
        if params.items > most_items {
            return Err(ProverError::MemoryShort {
                needed_bytes: params.memory_bytes(),
                free_bytes: u64::from(most_items) * assay_proof::ITEM_BYTES,
            });
        }
        Ok(plan)
    }

    fn fill(
        &mut self,
        params: &ChallengeParams,
        seed: [u32; 8],
        watch: &dyn Watch,
    ) -> Result<Duration, ProverError> {
        let start = Instant::now();
        let mut slices = Slices::new(self.options.pace, FIRST_ITEMS, params.items.into());
        let mut done = 0;
        while done < params.items {
            go_on(watch)?;
            // At most `params.items`, which has 32 bits.
            let items = slices.next() as u32;
            let items = items.min(params.items - done);
            let fill = Fill {
                seed,
                double_rounds: params.fill_double_rounds.into(),
                first_item: done,
                items,
            };
            slices.run(items.into(), || self.device.fill(&fill))?;
            done += items;
            watch.progress(Progress {
                stage: Stage::Fill,
                done: done.into(),
                total: params.items.into(),
            });
        }
        Ok(start.elapsed())
    }

    fn tops(
        &mut self,
        params: &ChallengeParams,
        plan: Plan,
        seed: [u32; 8],
        watch: &dyn Watch,
    ) -> Result<Vec<Hash>, ProverError> {
        let lanes = 1_u32 << params.lanes_log2;
        let subtree = 1_u32 << plan.subtree_lanes_log2;
        let mut slices = Slices::new(self.options.pace, FIRST_LANES, 1 << plan.batch_lanes_log2);
        let mut tops = Vec::with_capacity((lanes / subtree) as usize);
        let mut done = 0;
        while done < lanes {
            go_on(watch)?;
            // Powers of two, so that every slice is whole subtrees; `done` is only a multiple of a subtree,
            // so the rest may be no power of two.
            let wanted = (slices.next_power_of_two() as u32).max(subtree);
            let left = lanes - done;
            let batch = wanted.min(1 << left.ilog2());
            let walk = Walk {
                seed,
                items: params.items,
                steps: params.steps.into(),
                source: Source::Memory,
                first_lane: done,
                lanes: batch,
            };
            let walked = slices.run(batch.into(), || self.device.walk(&walk, plan.subtree_lanes_log2))?;
            tops.extend(walked);
            done += batch;
            watch.progress(Progress {
                stage: Stage::Walk,
                done: done.into(),
                total: lanes.into(),
            });
        }
        Ok(tops)
    }

    fn fill_and_walk(
        &mut self,
        params: &ChallengeParams,
        plan: Plan,
        seed: &Hash,
        watch: &dyn Watch,
    ) -> Result<HeldCommitment, ProverError> {
        self.device.allocate(Layout {
            items: params.items,
            lanes: 1 << plan.batch_lanes_log2,
        })?;
        let words = seed_words(seed);
        let fill_time = self.fill(params, words, watch)?;
        let start = Instant::now();
        let tree = Tree::new(self.tops(params, plan, words, watch)?);
        Ok(HeldCommitment {
            commitment: Commitment {
                params: *params,
                seed: *seed,
                root: tree.root(),
                fill_time,
                walk_time: start.elapsed(),
            },
            subtree_lanes_log2: plan.subtree_lanes_log2,
            tree,
        })
    }
}

impl Prover for GpuProver {
    fn name(&self) -> String {
        self.device.name()
    }

    fn commit(
        &mut self,
        params: &ChallengeParams,
        seed: &Hash,
        watch: &dyn Watch,
    ) -> Result<Commitment, ProverError> {
        self.release();
        let plan = self.plan(params)?;
        let result = self.fill_and_walk(params, plan, seed, watch);
        self.device.free();
        let held = result?;
        let commitment = held.commitment;
        self.held = Some(held);
        Ok(commitment)
    }

    fn open(
        &mut self,
        commitment: &Commitment,
        lanes: &[u32],
        watch: &dyn Watch,
    ) -> Result<SlotProof, ProverError> {
        let held = self
            .held
            .as_ref()
            .filter(|held| held.commitment.is_same_answer(commitment))
            .ok_or(ProverError::NotHeld)?;
        let params = &held.commitment.params;
        check_lanes(params, lanes)?;
        let subtree = 1 << held.subtree_lanes_log2;
        self.device.allocate(Layout {
            items: 0,
            lanes: subtree,
        })?;
        let mut paths = Vec::with_capacity(lanes.len());
        let mut open = || {
            for &lane in lanes {
                go_on(watch)?;
                let top = lane >> held.subtree_lanes_log2;
                let first_lane = top << held.subtree_lanes_log2;
                let leaves = self.device.walk(
                    &Walk {
                        seed: seed_words(&held.commitment.seed),
                        items: params.items,
                        steps: params.steps.into(),
                        source: Source::Made {
                            fill_double_rounds: params.fill_double_rounds.into(),
                        },
                        first_lane,
                        lanes: subtree,
                    },
                    0,
                )?;
                let below = Tree::new(leaves);
                let path: Vec<Hash> = below
                    .siblings((lane - first_lane) as usize)
                    .chain(held.tree.siblings(top as usize))
                    .collect();
                paths.push(path);
                watch.progress(Progress {
                    stage: Stage::Open,
                    done: paths.len() as u64,
                    total: lanes.len() as u64,
                });
            }
            Ok(())
        };
        let result = open();
        self.device.free();
        result.map(|()| {
            SlotProof::from_paths(paths).expect("lanes and levels of valid parameters fit a proof; qed")
        })
    }

    fn release(&mut self) {
        self.held = None;
        self.device.free();
    }
}

fn go_on(watch: &dyn Watch) -> Result<(), ProverError> {
    if watch.is_cancelled() {
        Err(ProverError::Cancelled)
    } else {
        Ok(())
    }
}
