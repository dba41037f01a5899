//! What the targets judge by: the limits the gateway has by default, and a gateway in one process.

pub mod http1;
#[path = "../../tests/it/support/wire.rs"]
#[allow(dead_code, reason = "shared with tests that use more of it")]
mod wire;

use jpush_gateway::body::Subject;
use jpush_gateway::config::{Files, ImageRule, Images, Mode};
use jpush_gateway::operation::{Family, Verb};

/// Limits of target lists.
pub static FILES: Files = Files { max_bytes: 10 * 1024 * 1024, line_bytes: 40, txt: Mode::Enforce };

/// Limits of pictures.
pub fn images() -> Images {
    let rule = |sizes, max_bytes| ImageRule { sizes, max_bytes, mode: Mode::Enforce };
    Images {
        max_bytes: 2 * 1024 * 1024,
        oppo_big: rule(vec![(984, 369), (876, 324)], 1024 * 1024),
        oppo_icon: rule(vec![(144, 144)], 50 * 1024),
    }
}

/// A POST of the push family; each target changes what its rule reads.
pub fn subject(images: &Images) -> Subject<'_> {
    Subject {
        method: Verb::Post,
        family: Family::Push,
        query: None,
        value: None,
        content_type: None,
        encrypted: false,
        app_key: "7d431e42dfa6a6d693ac2d04",
        files: &FILES,
        images,
    }
}

/// Sends bytes to a gateway, in pieces of this length, and asserts what must hold for any input.
pub fn request_path(input: &[u8], piece: usize) {
    // Never dropped: budgets live as long as the process, and only what points to them keeps them from being a leak.
    thread_local!(static WORLD: &'static wire::World = Box::leak(Box::new(wire::World::start())));
    WORLD.with(|world| wire::judge(input, &world.exchange(input, piece)));
}
