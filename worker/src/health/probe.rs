//! Threads that ask the sources of readings, one for each, with a time limit.
//!
//! A driver may hang for any time. Its thread then hangs with it, and gets no further question until it has
//! answered the last one: a hung driver costs one thread.

use std::{
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use tokio::sync::oneshot;

use super::reading::{Driver, Readings, Silence};
use crate::devices::Device;

/// Question to a source.
pub(super) struct Request {
    /// Devices to read.
    pub(super) devices: Vec<Device>,
    /// True if the source may keep the driver open until the next question. False while the provider may
    /// want to reset a device, which needs that nobody has it open.
    pub(super) keeps_open: bool,
    /// Receiver of the answer.
    answer: oneshot::Sender<Readings>,
}

impl Request {
    /// Answers the question.
    pub(super) fn answer(self, readings: Readings) {
        // Nobody waits for it any more when the worker stops.
        let _ = self.answer.send(readings);
    }
}

/// Code of a source: answers questions until the channel is closed.
type Serve = dyn Fn(&mpsc::Receiver<Request>) + Send + Sync;

/// A source with its thread.
pub(super) struct Probe {
    driver: Driver,
    serve: Arc<Serve>,
    requests: Option<mpsc::Sender<Request>>,
    /// Answer to a question that took longer than its time.
    late: Option<oneshot::Receiver<Readings>>,
}

impl Probe {
    /// Creates a source, whose thread starts with the first question.
    pub(super) fn new(
        driver: Driver,
        serve: impl Fn(&mpsc::Receiver<Request>) + Send + Sync + 'static,
    ) -> Self {
        Self {
            driver,
            serve: Arc::new(serve),
            requests: None,
            late: None,
        }
    }

    /// Returns the source's readings. They are those of the last question if that one was answered late.
    ///
    /// # Errors
    /// No answer within `limit`.
    pub(super) async fn read(
        &mut self,
        devices: Vec<Device>,
        keeps_open: bool,
        limit: Duration,
    ) -> Result<Readings, Silence> {
        let mut answer = match self.late.take() {
            Some(answer) => answer,
            None => self.ask(devices, keeps_open)?,
        };
        match tokio::time::timeout(limit, &mut answer).await {
            Ok(Ok(readings)) => Ok(readings),
            Ok(Err(_)) => {
                // The thread panicked; the next question starts another one.
                self.requests = None;
                Err(self.silence("its reading failed, which is a bug of the worker"))
            }
            Err(_) => {
                self.late = Some(answer);
                Err(self.silence(&format!("no answer within {} seconds", limit.as_secs())))
            }
        }
    }

    fn ask(
        &mut self,
        devices: Vec<Device>,
        keeps_open: bool,
    ) -> Result<oneshot::Receiver<Readings>, Silence> {
        let requests = match self.requests.take() {
            Some(requests) => requests,
            None => self.start()?,
        };
        let (answer, receiver) = oneshot::channel();
        let request = Request {
            devices,
            keeps_open,
            answer,
        };
        // A thread that is gone drops the request, which its receiver sees.
        let _ = requests.send(request);
        self.requests = Some(requests);
        Ok(receiver)
    }

    fn start(&self) -> Result<mpsc::Sender<Request>, Silence> {
        let (requests, receiver) = mpsc::channel();
        let serve = self.serve.clone();
        // Not a thread of the runtime, which waits for its own when the worker stops.
        thread::Builder::new()
            .name("health".to_owned())
            .spawn(move || serve(&receiver))
            .map_err(|error| self.silence(&format!("no thread can be started: {error}")))?;
        Ok(requests)
    }

    fn silence(&self, reason: &str) -> Silence {
        Silence {
            driver: self.driver,
            reason: reason.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use super::*;
    use crate::health::reading::GpuReading;

    const LIMIT: Duration = Duration::from_millis(100);

    fn reading(device: &str) -> Readings {
        Readings {
            gpus: vec![GpuReading::empty(device, Driver::Amd, "")],
            ..Readings::default()
        }
    }

    #[tokio::test]
    async fn hung_driver_is_told_and_costs_one_thread() {
        let (threads, is_hung) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(true)));
        let mut probe = {
            let (threads, is_hung) = (threads.clone(), is_hung.clone());
            Probe::new(Driver::Amd, move |requests: &mpsc::Receiver<Request>| {
                threads.fetch_add(1, Ordering::SeqCst);
                for (number, request) in requests.iter().enumerate() {
                    while is_hung.load(Ordering::SeqCst) {
                        thread::sleep(Duration::from_millis(1));
                    }
                    request.answer(reading(&number.to_string()));
                }
            })
        };
        for _ in 0..3 {
            let silence = probe.read(Vec::new(), true, LIMIT).await.unwrap_err();
            assert_eq!(silence.driver, Driver::Amd);
            assert!(silence.reason.contains("no answer within"), "{silence:?}");
        }
        is_hung.store(false, Ordering::SeqCst);
        let limit = Duration::from_secs(20);
        for number in 0..2 {
            let readings = probe.read(Vec::new(), true, limit).await.unwrap();
            assert_eq!(readings, reading(&number.to_string()));
        }
        assert_eq!(threads.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn thread_that_panicked_is_replaced() {
        let threads = Arc::new(AtomicU32::new(0));
        let mut probe = {
            let threads = threads.clone();
            Probe::new(Driver::Cpu, move |requests: &mpsc::Receiver<Request>| {
                let is_first = threads.fetch_add(1, Ordering::SeqCst) == 0;
                for request in requests {
                    assert!(!is_first, "a bug");
                    request.answer(Readings::default());
                }
            })
        };
        let limit = Duration::from_secs(20);
        assert!(probe.read(Vec::new(), true, limit).await.is_err());
        assert_eq!(probe.read(Vec::new(), true, limit).await, Ok(Readings::default()));
        assert_eq!(threads.load(Ordering::SeqCst), 2);
    }
}
