//! The locks of budgets. Each is held for tens of nanoseconds and needed by every core on every call.

use std::hint::spin_loop;
use std::sync::{Mutex, MutexGuard, TryLockError};

/// Spins of about 10 ns between two attempts to get a lock. The work under these locks takes less time than the system
/// call of sleeping, and a thread that retries without a pause slows down the one that holds the lock. After the last
/// pause the thread sleeps: the holder may have lost its core.
const PAUSES: [u32; 5] = [32, 64, 128, 256, 512];

/// Locks a mutex and ignores poisoning: no code under these locks can panic half-way through a change.
#[inline]
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.try_lock().unwrap_or_else(|_| lock_contended(mutex))
}

#[cold]
fn lock_contended<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    for pause in PAUSES {
        (0..pause).for_each(|_| spin_loop());
        match mutex.try_lock() {
            Ok(guard) => return guard,
            Err(TryLockError::Poisoned(_)) => break,
            Err(TryLockError::WouldBlock) => {}
        }
    }
    crate::lock::lock(mutex)
}
