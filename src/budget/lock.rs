//! The locks of budgets: held for tens of nanoseconds, wanted by every core on every call.

use std::hint::spin_loop;
use std::sync::{Mutex, MutexGuard, TryLockError};

/// How long a thread steps back from a lock before each further try, in spins of about 10 ns. What is done under
/// these locks takes less than the system call that sleeping costs, and a thread that tries all the time slows the
/// one that works down. After the last one it sleeps: the other may have lost its core.
const PAUSES: [u32; 5] = [32, 64, 128, 256, 512];

/// Locks. No code under these locks can panic half-way through a change, so a poisoned one is as good as another.
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
