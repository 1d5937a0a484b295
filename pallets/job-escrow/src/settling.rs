//! What epochs were worth: judging them once they are closed, and paying for them.
//!
//! An epoch is paid when what validators saw of it is final, in proportion to the machine's uptime in it. So the last
//! epochs of every assignment stay held until they are closed, and anybody may have them paid then.
//!
//! A running service is paid all but a fraction of what it earned, the *hold-back*. The rest follows when the last epoch
//! that it ran in is judged, whoever ended it. A machine that gave it up loses the rest to the consumer; one that was seen
//! down in that epoch, or whose word that the workload ended by itself is disputed, loses it to the treasury: switching off
//! is no cheaper than speaking, and a consumer gains nothing by closing in an outage or by a dispute.

use assay_primitives::{
    clock::{ActiveClock, EpochIndex, Millis},
    emission::EpochUptime,
    machine::MachineId,
    market::FULL_PPM,
    money::Balance,
};
use polkadot_sdk::{
    frame_support::{ensure, traits::Get},
    sp_runtime::{DispatchError, Rounding, helpers_128bit::multiply_by_rational_with_rounding},
};

use crate::{
    AssignmentRecordOf, AssignmentState, Assignments, Config, Error, JobId, JobKind, JobRecordOf, Jobs,
    Outcome, Pallet,
};

impl<T: Config> Pallet<T> {
    /// Judges and pays, and says how many epochs were judged.
    pub(crate) fn do_settle(
        caller: &T::AccountId,
        job: JobId,
        machine: MachineId,
    ) -> Result<u32, DispatchError> {
        let (mut record, mut assignment) = Self::assignment(job, machine)?;
        let provider = assignment.provider.clone();
        match (assignment.state, record.kind) {
            (AssignmentState::Ended { .. }, _) | (AssignmentState::Running { .. }, JobKind::Service) => {}
            (
                AssignmentState::Verifying {
                    ended_at_ms,
                    window_ends_ms,
                    ..
                },
                _,
            ) => {
                ensure!(T::Clock::now_ms() > window_ends_ms, Error::<T>::TooEarly);
                Self::end_run(
                    job,
                    &mut record,
                    machine,
                    assignment,
                    ended_at_ms,
                    Outcome::Completed,
                )?;
                Self::pay_caller(job, &mut record, caller, machine, &provider);
                Self::put_or_close(job, record)?;
                return Ok(0);
            }
            _ => return Err(Error::<T>::WrongState.into()),
        }

        let epochs = Self::judge(&record, machine, &mut assignment);
        let hold_back = Self::hold_back(&record, &assignment);
        let due = assignment.payable(hold_back).saturating_sub(assignment.paid);
        let is_last = assignment.is_judged();
        // A stream can wait for an account to come to life; only the end cannot.
        let pays = due > 0 && (is_last || Self::can_receive(&provider, due));
        ensure!(epochs > 0 || pays || is_last, Error::<T>::NothingDue);
        if pays {
            Self::pay(job, &mut record, machine, &mut assignment, due)?;
        }
        match assignment.state {
            AssignmentState::Ended { outcome, .. } if is_last => {
                if matches!(outcome, Outcome::Disputed | Outcome::WentDown) {
                    let lost = assignment.earned.saturating_sub(assignment.paid);
                    Self::forfeit(job, &record, machine, &mut assignment, lost)?;
                }
                Self::close_place(job, &mut record, machine, assignment, outcome)?;
            }
            _ => Assignments::<T>::insert(job, machine, assignment),
        }
        if is_last || epochs >= T::MaxEpochsPerSettle::get() {
            Self::pay_caller(job, &mut record, caller, machine, &provider);
        }
        Self::put_or_close(job, record)?;
        Ok(epochs)
    }

    /// Judges closed epochs that an assignment ran in, as many as one call may, and says how many they were.
    ///
    /// Each is worth its part of the running total, in proportion to the machine's uptime in it, rounded down.
    pub(crate) fn judge(
        record: &JobRecordOf<T>,
        machine: MachineId,
        assignment: &mut AssignmentRecordOf<T>,
    ) -> u32 {
        let (started_at_ms, mut judged_until_ms, until_ms) = match assignment.state {
            AssignmentState::Running {
                started_at_ms,
                judged_until_ms,
            } if record.kind == JobKind::Service => {
                // The last epoch waits for the end: only then is it known whether its hold-back is lost.
                let last_epoch = Self::epoch_of(assignment.run_ends_ms(started_at_ms).saturating_sub(1));
                let until_ms = Millis::from(last_epoch).saturating_mul(T::Clock::epoch_duration_ms());
                (started_at_ms, judged_until_ms, until_ms)
            }
            AssignmentState::Ended {
                started_at_ms,
                ended_at_ms,
                judged_until_ms,
                ..
            } => (started_at_ms, judged_until_ms, ended_at_ms),
            _ => return 0,
        };
        // An epoch that has not ended cannot be closed, whatever who watches says.
        let first_open = T::Uptime::first_open_epoch().min(T::Clock::current_epoch());
        let (mut epochs, mut was_down) = (0, false);
        while judged_until_ms < until_ms && epochs < T::MaxEpochsPerSettle::get() {
            let epoch = Self::epoch_of(judged_until_ms);
            if epoch >= first_open {
                break;
            }
            let to_ms = Self::epoch_end_ms(epoch).min(until_ms);
            let worth = assignment.worth(record.slots, started_at_ms, judged_until_ms, to_ms);
            let uptime_ppm = T::Uptime::uptime_ppm(machine, epoch);
            was_down = uptime_ppm < FULL_PPM / 2;
            let earned = share_of(worth, uptime_ppm);
            assignment.earned = assignment.earned.saturating_add(earned);
            judged_until_ms = to_ms;
            epochs += 1;
        }
        match &mut assignment.state {
            AssignmentState::Running {
                judged_until_ms: until,
                ..
            } => *until = judged_until_ms,
            AssignmentState::Ended {
                judged_until_ms: until,
                outcome,
                ..
            } => {
                *until = judged_until_ms;
                let is_last = judged_until_ms >= until_ms;
                if record.kind == JobKind::Service && is_last && was_down && !outcome.loses_hold_back() {
                    *outcome = Outcome::WentDown;
                }
            }
            _ => {}
        }
        epochs
    }

    /// What settling would pay now.
    pub(crate) fn due(job: JobId, machine: MachineId) -> Option<Balance> {
        let (record, mut assignment) = (Jobs::<T>::get(job)?, Assignments::<T>::get(job, machine)?);
        Self::judge(&record, machine, &mut assignment);
        let hold_back = Self::hold_back(&record, &assignment);
        Some(assignment.payable(hold_back).saturating_sub(assignment.paid))
    }

    /// The epoch that a moment lies in.
    fn epoch_of(moment_ms: Millis) -> EpochIndex {
        let epoch = moment_ms.checked_div(T::Clock::epoch_duration_ms()).unwrap_or(0);
        EpochIndex::try_from(epoch).unwrap_or(EpochIndex::MAX)
    }

    /// The first moment after an epoch.
    fn epoch_end_ms(epoch: EpochIndex) -> Millis {
        Millis::from(epoch)
            .saturating_add(1)
            .saturating_mul(T::Clock::epoch_duration_ms())
    }
}

/// So many parts per million of an amount, rounded down; never more than all of it.
fn share_of(amount: Balance, parts: u32) -> Balance {
    if parts >= FULL_PPM {
        return amount;
    }
    // A part of an amount is less than it.
    multiply_by_rational_with_rounding(amount, parts.into(), FULL_PPM.into(), Rounding::Down)
        .unwrap_or(amount)
}
