//! Keeps idle processors of a virtual machine from halting while many requests come in.
//!
//! Each request wakes a thread of ours and then the caller's. Where the machine is virtual, waking a halted processor
//! costs two exits to its hypervisor, which is several times what answering from a cache costs. The kernel's
//! `/dev/cpu_dma_latency` is the way to ask for processors that poll instead (Documentation/power/pm_qos_interface);
//! the wish ends with the descriptor, so nothing is left behind however the process ends.

use std::fs::{self, File};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Where a process says what latency it can bear; root's.
const LATENCY_DEVICE: &str = "/dev/cpu_dma_latency";
/// Names the driver that halts idle processors.
const IDLE_DRIVER: &str = "/sys/devices/system/cpu/cpuidle/current_driver";
/// The driver for virtual machines: it polls when asked for no latency at all. Others were not measured.
const POLLING_DRIVER: &str = "haltpoll";
/// The most processors that are kept from halting: their polling is for the whole machine, and the gain is for two.
const PROCESSORS_MAX: usize = 16;
/// Of how many requests one looks at the clock.
const SAMPLE: u64 = 16;
/// That many requests within this time begin a burst: 500 a second.
const BURST_TIME_MAX: Duration = Duration::from_millis(32);
/// How often a burst looks whether it goes on. It ends after one such time without a sample's worth of requests.
const BURST_CHECK: Duration = Duration::from_millis(40);

/// Nothing is held.
const IDLE: u8 = 0;
/// A thread holds the wish.
const HELD: u8 = 1;
/// It cannot be had here.
const UNAVAILABLE: u8 = 2;

/// Notices bursts of requests and keeps processors awake for as long as one lasts.
#[derive(Debug, Clone)]
pub struct Wakefulness(Arc<Burst>);

#[derive(Debug)]
struct Burst {
    state: AtomicU8,
    requests: AtomicU64,
    start: Instant,
    /// When the last sample was taken, in microseconds after `start`.
    sampled: AtomicU64,
}

impl Wakefulness {
    /// Returns one that does what it can on this machine, or nothing unless `is_wanted`.
    pub fn new(is_wanted: bool) -> Wakefulness {
        let state = if is_wanted && is_worthwhile() { IDLE } else { UNAVAILABLE };
        Wakefulness(Arc::new(Burst {
            state: AtomicU8::new(state),
            requests: AtomicU64::new(0),
            start: Instant::now(),
            sampled: AtomicU64::new(0),
        }))
    }

    /// Notes that a request came.
    pub fn note_request(&self) {
        let burst = &self.0;
        if burst.state.load(Ordering::Relaxed) == UNAVAILABLE {
            return;
        }
        let count = burst.requests.fetch_add(1, Ordering::Relaxed) + 1;
        if count % SAMPLE == 0 && burst.state.load(Ordering::Relaxed) == IDLE && burst.is_beginning() {
            self.hold();
        }
    }

    /// Starts the thread that keeps processors awake until the burst is over.
    fn hold(&self) {
        let burst = Arc::clone(&self.0);
        if burst.state.swap(HELD, Ordering::Relaxed) == HELD {
            return;
        }
        let thread = thread::Builder::new().name("wakefulness".to_owned());
        let started = thread.spawn(move || {
            let state = match burst.stay_awake() {
                Ok(()) => IDLE,
                Err(error) => {
                    log::debug!("{LATENCY_DEVICE}: {error}: idle processors halt between requests");
                    UNAVAILABLE
                }
            };
            burst.state.store(state, Ordering::Relaxed);
        });
        if started.is_err() {
            self.0.state.store(IDLE, Ordering::Relaxed);
        }
    }
}

impl Burst {
    /// Takes a sample, and says whether the requests since the last one came fast.
    fn is_beginning(&self) -> bool {
        let now = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        let before = self.sampled.swap(now, Ordering::Relaxed);
        Duration::from_micros(now.saturating_sub(before)) <= BURST_TIME_MAX
    }

    /// Holds the wish for as long as requests go on coming.
    fn stay_awake(&self) -> io::Result<()> {
        let mut wish = File::options().write(true).open(LATENCY_DEVICE)?;
        // No latency at all, in microseconds.
        wish.write_all(&0_i32.to_ne_bytes())?;
        let mut before = self.requests.load(Ordering::Relaxed);
        loop {
            thread::sleep(BURST_CHECK);
            let count = self.requests.load(Ordering::Relaxed);
            if count.wrapping_sub(before) < SAMPLE {
                return Ok(());
            }
            before = count;
        }
    }
}

/// Tells whether this machine is one where waking a processor is dear and polling was found to help.
fn is_worthwhile() -> bool {
    let processors = thread::available_parallelism().map_or(usize::MAX, usize::from);
    let driver = fs::read_to_string(IDLE_DRIVER).unwrap_or_default();
    processors <= PROCESSORS_MAX && driver.trim() == POLLING_DRIVER
}

#[cfg(test)]
mod tests {
    use super::*;

    fn burst(state: u8) -> Wakefulness {
        let wakefulness = Wakefulness::new(false);
        wakefulness.0.state.store(state, Ordering::Relaxed);
        wakefulness
    }

    #[test]
    fn nothing_is_counted_where_it_cannot_help() {
        let wakefulness = burst(UNAVAILABLE);
        (0..SAMPLE * 4).for_each(|_| wakefulness.note_request());
        assert_eq!(wakefulness.0.requests.load(Ordering::Relaxed), 0);
        assert_eq!(wakefulness.0.state.load(Ordering::Relaxed), UNAVAILABLE);
    }

    #[test]
    fn slow_requests_are_no_burst() {
        let wakefulness = burst(IDLE);
        let burst = &wakefulness.0;
        burst.sampled.store(0, Ordering::Relaxed);
        thread::sleep(BURST_TIME_MAX * 2);
        assert!(!burst.is_beginning());
    }

    #[test]
    fn the_wish_ends_when_requests_stop() {
        let wakefulness = burst(HELD);
        match wakefulness.0.stay_awake() {
            Ok(()) => {}
            // Only root may ask, and not in each container.
            Err(error) => eprintln!("skipped: {LATENCY_DEVICE}: {error}"),
        }
    }
}
