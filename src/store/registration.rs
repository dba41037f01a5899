//! The registration of this replica's slots with a server that began anew.
//!
//! The server is asked every second since when it knows of calls. Once in each run it is told which slots this replica
//! holds; when it knows those of all replicas, it gives slots again (`register.lua`). This is for a server that no other
//! can replace: one that was replaced may go on and give slots that were not registered.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use redis::{RedisResult, ScriptInvocation};

use super::current::CurrentServers;
use super::held_slots::{HeldSlot, HeldSlots};
use super::link::Link;
use super::scripts::Scripts;
use super::{RUNS_KEY, micros, slot_name};

/// The most slots that are registered with one command, so that none keeps the server busy for long.
const CHUNK_MAX: usize = 1000;

pub(super) struct Registration {
    scripts: Arc<Scripts>,
    held_slots: Arc<HeldSlots>,
    process: String,
    /// How many replicas there are at most.
    replicas: u32,
    /// The server's run.
    run: Option<Run>,
}

/// One run of the server.
struct Run {
    name: String,
    /// When it began to know of anything, as this replica heard first. If that changes, the server was emptied while it
    /// ran, and is not told again.
    began: i64,
    /// Since when it knows of every slot.
    since: i64,
    /// Whether it knows all slots of this replica.
    is_told: bool,
}

/// What a server knows of, in microseconds on its clock.
#[derive(Clone, Copy)]
struct Known {
    began: i64,
    since: i64,
}

impl Registration {
    pub(super) fn new(
        scripts: &Arc<Scripts>,
        held_slots: &Arc<HeldSlots>,
        process: &str,
        replicas: u32,
    ) -> Self {
        Self {
            scripts: Arc::clone(scripts),
            held_slots: Arc::clone(held_slots),
            process: process.to_owned(),
            replicas,
            run: None,
        }
    }

    /// Asks the server what it knows of, and tells it of all slots if it began anew.
    pub(super) async fn look(&mut self, link: &Link, current: &CurrentServers) {
        match self.register(link).await {
            Ok(Some(())) => {
                tracing::info!("all replicas told the store of the shared budgets of their calls");
                current.released();
            }
            Ok(None) => {}
            Err(error) if error.is_timeout() => current.late(link, &error),
            // It is asked again at the next look, and by calls until then.
            Err(error) => tracing::debug!(%error, "the slots of this replica were not registered"),
        }
    }

    /// Returns something once all replicas told the server of their slots.
    async fn register(&mut self, link: &Link) -> RedisResult<Option<()>> {
        let question = self.invocation(link, None, (Duration::ZERO, Last::No));
        let mut known = known_by(link, question).await?;
        let run = match self.run.take() {
            Some(run) if run.name == link.run => run,
            _ => Run { name: link.run.clone(), began: known.began, since: known.began, is_told: false },
        };
        let run = self.run.insert(run);
        if known.began != run.began {
            return Ok(None);
        }
        let (began, is_told) = (run.began, run.is_told);
        if !is_told {
            known = self.tell(link, known).await?;
        }
        let Some(run) = self.run.as_mut().filter(|_| known.began == began) else { return Ok(None) };
        run.is_told = true;
        let is_complete = known.since < run.since;
        run.since = known.since;
        Ok(is_complete.then_some(()))
    }

    /// Tells the server of all slots.
    async fn tell(&self, link: &Link, mut known: Known) -> RedisResult<Known> {
        // Read after the beginning: whatever was taken before that and is still used is among them.
        let Some((age, slots)) = self.held_slots.all() else { return Ok(known) };
        let began = known.began;
        let chunks = slots.len().div_ceil(CHUNK_MAX).max(1);
        for number in 0..chunks {
            let last = if number + 1 == chunks { Last::Yes } else { Last::No };
            let mut invocation = self.invocation(link, Some(began), (age, last));
            self.add_slots(&mut invocation, slots.iter().skip(number * CHUNK_MAX).take(CHUNK_MAX));
            known = known_by(link, invocation).await?;
            if known.began != began {
                // It was lost again meanwhile.
                return Ok(known);
            }
        }
        tracing::debug!(slots = slots.len(), "the slots of this replica were registered with the store");
        Ok(known)
    }

    /// A question, or the registration of slots with what began at `began`.
    fn invocation(
        &self,
        link: &Link,
        began: Option<i64>,
        (age, last): (Duration, Last),
    ) -> ScriptInvocation<'_> {
        let mut invocation = self.scripts.register.prepare_invoke();
        invocation
            .key(RUNS_KEY)
            .arg(&link.run)
            .arg(began.map_or_else(String::new, |began| began.to_string()));
        invocation.arg(&self.process).arg(micros(age)).arg(self.replicas).arg(u8::from(last == Last::Yes));
        invocation
    }

    fn add_slots<'s>(
        &self,
        invocation: &mut ScriptInvocation<'_>,
        slots: impl Iterator<Item = &'s HeldSlot>,
    ) {
        let mut numbers: HashMap<&'s str, usize> = HashMap::new();
        for HeldSlot { key, id, left } in slots {
            let next = numbers.len() + 1;
            let number = *numbers.entry(key).or_insert_with(|| {
                invocation.key(&**key);
                next
            });
            invocation.arg(number).arg(slot_name(&self.process, *id)).arg(micros(*left));
        }
    }
}

async fn known_by(link: &Link, invocation: ScriptInvocation<'_>) -> RedisResult<Known> {
    let (began, since) = invocation.invoke_async(&mut link.connection.clone()).await?;
    Ok(Known { began, since })
}

/// Whether a command has the last of all slots.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    Yes,
    No,
}
