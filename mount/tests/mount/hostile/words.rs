//! Every word of every kind of reply replaced by values at the edges: what XDR is made of.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use guestfs_api::procedures::nodes::PROCEDURES;
use guestmount::request::Access;

use super::GROWTH_MAX;
use super::daemon::{Sent, mounted_on};
use super::user::{User, memory_bytes, sample};

/// What a word is replaced by.
const VALUES: [u32; 6] = [0, 1, 5, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];
/// How many words of a reply are tried, from its header on.
const WORDS_MAX: usize = 120;
/// Which of all cases are tried: one of so many, another one in each row.
const STRIDE: usize = 7;
/// The bytes of the length word.
const LENGTH_BYTES: usize = 4;
/// How long the threads of hundreds of mounts may take to end on a busy machine.
const SETTLING_TIME_MAX: Duration = Duration::from_secs(20);

/// Replaces the word `word` of each reply to `procedure`; gives how many replies had it.
fn with_word(procedure: u32, word: usize, value: u32, access: Access) -> u64 {
    let replaced = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&replaced);
    let mounted = mounted_on(sample(), access, move |call, honest| {
        let Sent::Bytes(mut bytes) = honest else { return honest };
        let place = LENGTH_BYTES + 4 * word;
        if let (true, Some(found)) = (call.procedure == procedure, bytes.get_mut(place..place + 4)) {
            found.copy_from_slice(&value.to_be_bytes());
            counted.fetch_add(1, Ordering::SeqCst);
        }
        Sent::Bytes(bytes)
    });
    match access {
        Access::ReadOnly => User::works_on(&mounted),
        Access::ReadWrite => User::changes(&mounted),
    };
    drop(mounted);
    replaced.load(Ordering::SeqCst)
}

fn every_word(access: Access) {
    let panics = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&panics);
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        counted.fetch_add(1, Ordering::SeqCst);
        default(panic);
    }));
    let before = memory_bytes();
    let mut cases = 0;
    // The root is asked for before there is a mount.
    for procedure in PROCEDURES.iter().filter(|procedure| procedure.name != "node_root") {
        for word in 0..WORDS_MAX {
            let values = VALUES.iter().enumerate().filter(|(place, _)| (word + place) % STRIDE == 0);
            let replaced: Vec<u64> =
                values.map(|(_, value)| with_word(procedure.number, word, *value, access)).collect();
            cases += replaced.iter().filter(|count| **count > 0).count();
            if !replaced.is_empty() && replaced.iter().all(|count| *count == 0) {
                // No reply to it is as long as this.
                break;
            }
        }
    }
    assert!(cases > 50, "{cases}");
    assert_eq!(panics.load(Ordering::SeqCst), 0, "the mount panicked and made EIO of it");
    // What the last mounts' threads hold goes when they have ended, a moment after their mounts.
    let deadline = Instant::now() + SETTLING_TIME_MAX;
    while memory_bytes() >= before + GROWTH_MAX && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(memory_bytes() < before + GROWTH_MAX, "{before} grew to {}", memory_bytes());
}

#[test]
fn a_word_of_any_value_anywhere_in_a_reply_to_a_reader_is_survived() {
    every_word(Access::ReadOnly);
}

#[test]
fn a_word_of_any_value_anywhere_in_a_reply_to_a_writer_is_survived() {
    every_word(Access::ReadWrite);
}
