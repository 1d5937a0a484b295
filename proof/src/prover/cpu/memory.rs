//! Items in memory, and the amount of free memory.

use rayon::prelude::*;

use super::{
    Pool,
    kernel::Kernel,
    tile::{Item, LANES_SIDE_BY_SIDE, Tile},
};
use crate::{
    Hash,
    params::ChallengeParams,
    prover::{Progress, ProverError, Stage, Watch},
};

/// Double rounds per thread between two calls of the watch: a few hundredths of a second.
const PIECE_DOUBLE_ROUNDS: u64 = 1 << 23;

/// Items from index zero on, rounded up to whole tiles.
#[derive(Debug)]
pub(crate) struct Items(Vec<Tile>);

impl Items {
    /// Returns the bytes that so many items take.
    pub(crate) fn bytes(count: u32) -> u64 {
        tiles(count) * size_of::<Tile>() as u64
    }

    /// Makes the first `count` items of a challenge.
    pub(crate) fn fill(
        params: &ChallengeParams,
        count: u32,
        seed: &Hash,
        kernel: Kernel,
        pool: &Pool,
        watch: &dyn Watch,
    ) -> Result<Self, ProverError> {
        let refused = || ProverError::MemoryRefused {
            needed_bytes: Self::bytes(count),
        };
        let total = usize::try_from(tiles(count)).map_err(|_| refused())?;
        let mut made: Vec<Tile> = Vec::new();
        made.try_reserve_exact(total).map_err(|_| refused())?;

        let tile_double_rounds = u64::from(params.fill_double_rounds) * LANES_SIDE_BY_SIDE as u64;
        let piece = (PIECE_DOUBLE_ROUNDS / tile_double_rounds) as usize * pool.threads();
        while made.len() < total {
            if watch.is_cancelled() {
                return Err(ProverError::Cancelled);
            }
            let start = made.len();
            let end = total.min(start + piece);
            pool.run(|| {
                made.par_extend((start..end).into_par_iter().map(|tile| {
                    // The indices of the last tile may pass `count` and even wrap: those items are never
                    // read.
                    let first = (tile * LANES_SIDE_BY_SIDE) as u32;
                    let indices = core::array::from_fn(|index| first.wrapping_add(index as u32));
                    kernel.items(seed, indices, params.fill_double_rounds)
                }));
            });
            watch.progress(Progress {
                stage: Stage::Fill,
                done: u64::from(count).min((end * LANES_SIDE_BY_SIDE) as u64),
                total: count.into(),
            });
        }
        Ok(Self(made))
    }

    pub(crate) fn as_slice(&self) -> &[Item] {
        self.0.as_flattened()
    }
}

fn tiles(count: u32) -> u64 {
    u64::from(count).div_ceil(LANES_SIDE_BY_SIDE as u64)
}

/// Fails if less than `needed_bytes` are free or allowed.
///
/// Without this check Linux would promise any memory, and kill the process when it is used.
pub(super) fn check_free(needed_bytes: u64, limit_bytes: Option<u64>) -> Result<(), ProverError> {
    match free_bytes(limit_bytes) {
        Some(free_bytes) if free_bytes < needed_bytes => Err(ProverError::MemoryShort {
            needed_bytes,
            free_bytes,
        }),
        _ => Ok(()),
    }
}

/// Returns the smaller of the free and the allowed memory, in bytes; `None` if neither is known.
pub(super) fn free_bytes(limit_bytes: Option<u64>) -> Option<u64> {
    [limit_bytes, available_bytes()].into_iter().flatten().min()
}

/// Returns the bytes that the system can give without swapping; `None` if the system does not tell.
fn available_bytes() -> Option<u64> {
    parse_available(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

fn parse_available(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_available_works() {
        let meminfo = "MemTotal:       24562648 kB\nMemAvailable:   21998160 kB\nBuffers: 1 kB\n";
        assert_eq!(parse_available(meminfo), Some(21_998_160 * 1024));
        assert_eq!(parse_available(""), None);
        assert_eq!(parse_available("MemAvailable: many kB"), None);
        assert_eq!(parse_available("MemAvailable: 18446744073709551615 kB"), None);
    }

    #[test]
    fn check_free_fails_when_the_limit_is_too_low() {
        assert!(check_free(1000, Some(1000)).is_ok());
        assert!(matches!(
            check_free(1001, Some(1000)),
            Err(ProverError::MemoryShort {
                needed_bytes: 1001,
                free_bytes: 1000
            })
        ));
    }

    #[test]
    fn bytes_are_those_of_whole_tiles() {
        assert_eq!(Items::bytes(8), 512);
        assert_eq!(Items::bytes(9), 1024);
        assert_eq!(Items::bytes(u32::MAX), 1 << 38);
    }
}
