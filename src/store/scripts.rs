//! The scripts that a server runs.

use redis::Script;

pub(super) struct Scripts {
    pub(super) claim: Script,
    pub(super) note_claim: Script,
    pub(super) broke: Script,
    pub(super) find_broken: Script,
    pub(super) take: Script,
    pub(super) renew: Script,
    pub(super) release: Script,
    pub(super) register: Script,
}

impl Default for Scripts {
    fn default() -> Self {
        Self {
            claim: Script::new(include_str!("claim.lua")),
            note_claim: Script::new(include_str!("note_claim.lua")),
            broke: Script::new(include_str!("broke.lua")),
            find_broken: Script::new(include_str!("find_broken.lua")),
            take: Script::new(include_str!("take.lua")),
            renew: Script::new(include_str!("renew.lua")),
            release: Script::new(include_str!("release.lua")),
            register: Script::new(include_str!("register.lua")),
        }
    }
}
