//! Settlement: judges epochs once they are closed, and pays for them.
//!
//! An epoch is paid when the validators' reports of it are final, in proportion to the machine's uptime in
//! it. So the pay of every assignment's last epochs stays held until these are closed; any account may settle
//! it then.
//!
//! A running service is paid its earnings except a fraction, the *hold-back*. The rest follows when the last
//! epoch that it ran in is judged. A machine that gave the service up loses the rest to the consumer. A
//! machine that was seen down in that epoch loses it to the treasury, and so does one whose report that the
//! workload ended by itself is disputed: switching off is no cheaper than reporting the end, and a consumer
//! gains nothing by closing in an outage or by a dispute.

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
    Outcome, Pallet, book::OpenAssignment, types::Settled,
};

impl<T: Config> Pallet<T> {
    /// Judges closed epochs and pays for them, or accepts a result for a silent consumer. Returns the work
    /// done, for the fee.
    pub(crate) fn do_settle(
        caller: &T::AccountId,
        job_id: JobId,
        machine: MachineId,
    ) -> Result<Settled, DispatchError> {
        let open = OpenAssignment::<T>::load(job_id, machine)?;
        match (open.assignment.state, open.job.kind) {
            (AssignmentState::Verifying { .. }, _) => Self::accept_in_silence(caller, open),
            (AssignmentState::Ended { .. }, _) | (AssignmentState::Running { .. }, JobKind::Service) => {
                Self::settle_epochs(caller, open)
            }
            _ => Err(Error::<T>::WrongState.into()),
        }
    }

    /// Accepts a result whose verification window ended in silence.
    fn accept_in_silence(caller: &T::AccountId, open: OpenAssignment<T>) -> Result<Settled, DispatchError> {
        let AssignmentState::Verifying {
            ended_at_ms,
            window_ends_ms,
            ..
        } = open.assignment.state
        else {
            return Err(Error::<T>::WrongState.into());
        };
        ensure!(T::Clock::now_ms() > window_ends_ms, Error::<T>::TooEarly);
        let is_stranger = open.is_stranger(caller);
        let mut open = open.end_run(ended_at_ms, Outcome::Completed)?;
        if is_stranger {
            open.pay_bounty(caller);
        }
        open.save()?;
        Ok(Settled {
            epochs: 0,
            is_whole: true,
        })
    }

    /// Judges closed epochs, up to the maximum of one call, and pays the amount due. Closes the assignment
    /// after the last epoch.
    fn settle_epochs(caller: &T::AccountId, mut open: OpenAssignment<T>) -> Result<Settled, DispatchError> {
        let epoch_ms = T::Clock::epoch_duration_ms();
        let epochs = Self::judge(&open.job, open.machine, &mut open.assignment, epoch_ms);
        let hold_back = Self::hold_back(&open.job, &open.assignment, epoch_ms);
        let due = open
            .assignment
            .payable(hold_back)
            .saturating_sub(open.assignment.paid);
        let payment = Self::split(due);
        let is_last = open.assignment.is_judged();
        // A stream can wait until the account exists; the last payment cannot.
        let pays = due > 0 && (is_last || Self::can_receive(&open.assignment.provider, payment));
        ensure!(epochs > 0 || pays || is_last, Error::<T>::NothingDue);
        if pays {
            open.pay(payment)?;
        }

        let is_whole = is_last || epochs >= T::MaxEpochsPerSettle::get();
        let earns_bounty = is_whole && open.is_stranger(caller);
        let mut open = match open.assignment.state {
            AssignmentState::Ended { outcome, .. } if is_last => {
                if matches!(outcome, Outcome::Disputed | Outcome::WentDown) {
                    let lost = open.assignment.earned.saturating_sub(open.assignment.paid);
                    open.forfeit(lost)?;
                }
                open.close(outcome)?
            }
            _ => open.keep(),
        };
        if earns_bounty {
            open.pay_bounty(caller);
        }
        open.save()?;
        Ok(Settled { epochs, is_whole })
    }

    /// Judges closed epochs of `epoch_ms` that an assignment ran in, as many as one call may. Returns their
    /// number.
    ///
    /// Each is worth its part of the running total, in proportion to the machine's uptime in it, rounded
    /// down.
    fn judge(
        job: &JobRecordOf<T>,
        machine: MachineId,
        assignment: &mut AssignmentRecordOf<T>,
        epoch_ms: Millis,
    ) -> u32 {
        let (started_at_ms, mut judged_until_ms, until_ms) = match assignment.state {
            AssignmentState::Running {
                started_at_ms,
                judged_until_ms,
            } if job.kind == JobKind::Service => {
                // The last epoch waits for the end: only then is it known whether its hold-back is lost.
                let last_epoch = epoch_of(assignment.run_ends_ms(started_at_ms).saturating_sub(1), epoch_ms);
                let until_ms = Millis::from(last_epoch).saturating_mul(epoch_ms);
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
        // An epoch that has not ended cannot be closed, even if the uptime source reports it.
        let first_open = T::Uptime::first_open_epoch().min(T::Clock::current_epoch());
        let (mut epochs, mut was_down) = (0, false);
        while judged_until_ms < until_ms && epochs < T::MaxEpochsPerSettle::get() {
            let epoch = epoch_of(judged_until_ms, epoch_ms);
            if epoch >= first_open {
                break;
            }
            let epoch_end_ms = Millis::from(epoch).saturating_add(1).saturating_mul(epoch_ms);
            let to_ms = epoch_end_ms.min(until_ms);
            let worth = assignment.worth(job.slots, started_at_ms, judged_until_ms, to_ms);
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
                if job.kind == JobKind::Service && is_last && was_down && !outcome.loses_hold_back() {
                    *outcome = Outcome::WentDown;
                }
            }
            _ => {}
        }
        epochs
    }

    /// Returns the amount that a settlement would pay now.
    pub(crate) fn due(job_id: JobId, machine: MachineId) -> Option<Balance> {
        let (job, mut assignment) = (Jobs::<T>::get(job_id)?, Assignments::<T>::get(job_id, machine)?);
        let epoch_ms = T::Clock::epoch_duration_ms();
        Self::judge(&job, machine, &mut assignment, epoch_ms);
        let hold_back = Self::hold_back(&job, &assignment, epoch_ms);
        Some(assignment.payable(hold_back).saturating_sub(assignment.paid))
    }
}

/// Returns the epoch that a moment lies in.
fn epoch_of(moment_ms: Millis, epoch_ms: Millis) -> EpochIndex {
    let epoch = moment_ms.checked_div(epoch_ms).unwrap_or(0);
    EpochIndex::try_from(epoch).unwrap_or(EpochIndex::MAX)
}

/// Returns a share of an amount in parts per million, rounded down; never more than the amount.
fn share_of(amount: Balance, parts: u32) -> Balance {
    if parts >= FULL_PPM {
        return amount;
    }
    // A part of an amount is less than it.
    multiply_by_rational_with_rounding(amount, parts.into(), FULL_PPM.into(), Rounding::Down)
        .unwrap_or(amount)
}
