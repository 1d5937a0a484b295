//! Limits of concurrent streams, in total and for each job.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Permits for streams; clones share them.
#[derive(Clone, Debug)]
pub(super) struct Seats {
    taken: Arc<Mutex<HashMap<u64, usize>>>,
    in_total: usize,
    per_job: usize,
}

/// Permit of one stream, released on drop.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Seats,
    job: u64,
}

impl Seats {
    pub(super) fn new(in_total: usize, per_job: usize) -> Self {
        Self {
            taken: Arc::default(),
            in_total,
            per_job,
        }
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<u64, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a permit for a job, if one is left.
    pub(super) fn take(&self, job: u64) -> Option<Seat> {
        let mut taken = self.taken();
        let of_job = taken.get(&job).copied().unwrap_or(0);
        if of_job >= self.per_job || taken.values().sum::<usize>() >= self.in_total {
            return None;
        }
        taken.insert(job, of_job + 1);
        drop(taken);
        Some(Seat {
            seats: self.clone(),
            job,
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken();
        match taken.get_mut(&self.job) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                taken.remove(&self.job);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_bounded_for_each_job_and_in_total() {
        let seats = Seats::new(3, 2);
        let first = seats.take(1);
        let _second = seats.take(1);
        assert!(first.is_some() && seats.take(1).is_none());
        let other = seats.take(2);
        assert!(other.is_some() && seats.take(3).is_none());
        drop(first);
        assert!(seats.take(3).is_some());
        drop(other);
        assert!(seats.take(1).is_some());
        assert_eq!(*seats.taken(), HashMap::from([(1, 1)]));
    }
}
