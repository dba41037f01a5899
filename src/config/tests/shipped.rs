//! Tests of the files that are shipped with the gateway, and of reading from the system itself.

use std::path::PathBuf;
use std::{env, fs, process};

use super::*;
use crate::operation::{Host, Scope};

const DEMO: &str = include_str!("../../../config/demo.yaml");
const EXAMPLE: &str = include_str!("../../../config/example.yaml");

#[test]
fn the_demo_is_good() {
    let config = good(DEMO);
    assert_eq!(config.listeners[0].address.to_string(), "127.0.0.1:8080");
    assert_eq!(config.admin.address.to_string(), "127.0.0.1:9090");
    let shop = &config.tenants[0];
    for host in Host::ALL {
        assert_eq!(shop.urls.of(host).map(BaseUrl::origin).as_deref(), Some("http://127.0.0.1:9501"));
    }
    let (dev, group) = (shop.dev.as_ref().expect("given"), shop.group.as_ref().expect("given"));
    let shown =
        [&shop.app, dev, group].map(|credential| (credential.key.as_str(), credential.secret.expose()));
    assert_eq!(shown[0], ("7d431e42dfa6a6d693ac2d04", "5e987ac6d2e04d95a9d8f0d1"));
    assert_eq!(shown[1], ("115cc609860982ede0e3bdd4", "2e2023ade697b989087dcc53"));
    assert_eq!(shown[2], ("group-e4c938578ee598be517a2243", "71d1dc4dae126674ed386b7b"));
    let demo = &config.callers[0];
    assert_eq!((demo.name.as_str(), demo.allow.as_slice()), ("demo", &Scope::ALL[..]));
    let token = "demoTokenForLocalUse2026";
    assert!(token.len() == 24 && DEMO.contains(token));
    assert!(demo.tokens[0].digest.matches(&TokenDigest::of(token.as_bytes())));
    assert_eq!(config.warnings.len(), 3, "one for each secret in the file");
}

#[test]
fn the_example_is_good_and_shows_the_defaults() {
    let config = good(EXAMPLE);
    assert_eq!(config.warnings, Vec::<String>::new());
    let plain = good(&top(""));
    assert_eq!(format!("{:?}", config.limits), format!("{:?}", plain.limits));
    assert_eq!(format!("{:?}", config.drain), format!("{:?}", plain.drain));
    assert_eq!(format!("{:?}", config.files), format!("{:?}", plain.files));
    assert_eq!(format!("{:?}", config.images), format!("{:?}", plain.images));
    assert_eq!(config.guard, plain.guard);
    assert_eq!(config.vendor.connect_timeout, plain.vendor.connect_timeout);
    assert_eq!(config.vendor.response_timeout, plain.vendor.response_timeout);
    assert_eq!(config.tenants[0].urls, plain.tenants[0].urls);
}

/// The configuration in the manifest's `ConfigMap`, and the greatest number of pods at once.
#[test]
fn the_configuration_for_kubernetes_is_good_and_fits_the_rollout() {
    let manifest = include_str!("../../../deploy/kubernetes.yaml");
    let (_, text) = manifest.split_once("  gateway.yaml: |\n").expect("a configuration");
    let (text, _) = text.split_once("---\n").expect("more objects");
    let text = text.replace("/run/secrets/jpush/redis-url", "redis-url");
    let folder = Folder::new("kubernetes");
    folder.write("redis-url", "redis://jpush-gateway-store:6379\n");
    folder.write("shop-master", "5e987ac6d2e04d95a9d8f0d1\n");
    let path = folder.write("gateway.yaml", text.replace("/run/secrets/jpush/shop-master", "shop-master"));
    let config = load(&path).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(config.warnings, Vec::<String>::new());
    // In an update all new pods may run while all old ones drain.
    assert_eq!(config.shared_budgets.expect("given").shares.replicas.get(), 2 * 4);
    assert!(manifest.contains("maxReplicas: 4\n") && manifest.contains("maxSurge: 1, maxUnavailable: 0"));
    // The admin listener can be scraped, and its other pages ask for a token.
    assert!(config.admin.address.to_string() == "0.0.0.0:9090" && config.admin.token.is_some());
    assert!(manifest.contains("{ name: admin, containerPort: 9090 }"));
    let grace = config.drain.delay + config.drain.deadline;
    assert!(manifest.contains("terminationGracePeriodSeconds: 45") && grace < Duration::from_secs(45));
}

#[test]
fn the_configuration_for_compose_is_good() {
    let folder = Folder::new("compose");
    let secret = folder.write("shop-master", "5e987ac6d2e04d95a9d8f0d1\n");
    let text = include_str!("../../../deploy/compose/gateway.yaml");
    let text = text.replace("/run/secrets/shop-master", &secret.to_string_lossy());
    let config = load(&folder.write("gateway.yaml", text)).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(config.warnings, Vec::<String>::new());
    let compose = include_str!("../../../deploy/compose/compose.yaml");
    let grace = config.drain.delay + config.drain.deadline;
    assert!(compose.contains("stop_grace_period: 40s") && grace < Duration::from_secs(40));
}

/// The systemd unit must fit the gateway's behaviour.
#[test]
fn the_units_fit_the_defaults() {
    let service = include_str!("../../../deploy/jpush-gateway.service");
    let socket = include_str!("../../../deploy/jpush-gateway.socket");
    let config = good(EXAMPLE);
    let listens = format!("ListenStream={}\n", config.listeners[0].address);
    assert!(socket.contains(&listens), "the example's address is the socket's");
    assert!(service.contains("TimeoutStopSec=45s\n"));
    assert!(config.drain.delay + config.drain.deadline < Duration::from_secs(45));
}

/// The memory limits in `deploy/` must equal the sum of the gateway's own limits, as their comments say.
#[test]
fn what_the_deployments_allow_is_the_sum_of_the_limits() {
    const KIB: usize = 1 << 10;
    const MIB: usize = 1 << 20;
    let Limits { connections, in_flight, body_memory_bytes, head_memory_bytes, .. } = good(&top("")).limits;
    let needed =
        body_memory_bytes + head_memory_bytes + connections * 24 * KIB + in_flight * 64 * KIB + 64 * MIB;
    assert_eq!(needed.div_ceil(MIB), 744);
    // Memory that the allocator keeps.
    let needed = needed + needed / 4;
    let unit = include_str!("../../../deploy/jpush-gateway.service");
    let manifest = include_str!("../../../deploy/kubernetes.yaml");
    let number = |text: &str, before: &str, after: &str| -> usize {
        let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("no {before}"));
        rest.split_once(after).and_then(|(number, _)| number.parse().ok()).expect("a number")
    };
    let compose = include_str!("../../../deploy/compose/compose.yaml");
    let allowed = [
        number(unit, "MemoryMax=", "M\n"),
        number(manifest, "limits: { memory: ", "Mi }"),
        number(compose, "mem_limit: ", "m "),
    ];
    for allowed in allowed {
        assert!((needed..needed + 32 * MIB).contains(&(allowed * MIB)), "{allowed} MiB");
    }
    for files in [number(unit, "LimitNOFILE=", "\n"), number(compose, "ulimits: { nofile: ", " }")] {
        assert!(files >= connections + in_flight + 128);
    }
    assert!(
        !manifest.contains("body_memory:") && !manifest.contains("connections:"),
        "the limits are the defaults"
    );
}

/// The commented lines of the example must be valid, too.
#[test]
fn the_lines_of_the_example_that_are_off_are_good_too() {
    let mut text = String::new();
    for line in EXAMPLE.lines() {
        let (indent, rest) = line.split_at(line.len() - line.trim_start().len());
        let entry = rest.strip_prefix("# ").filter(|rest| {
            rest.contains(": {") || rest.starts_with([' ', '-']) || rest.starts_with("- address")
        });
        text.push_str(&entry.map_or_else(|| line.to_owned(), |entry| format!("{indent}{entry}")));
        text.push('\n');
    }
    let config = good(
        &text.replace("/run/secrets/shop-dev", "/run/secret").replace("/run/secrets/shop-group", "secret"),
    );
    assert_eq!(config.listeners.len(), 2);
    assert!(
        config.listeners[1].tls.is_some()
            && config.tenants[0].group.is_some()
            && config.tenants[0].dev.is_some()
    );
    assert_eq!(
        config.tenants[0].urls.of(Host::Api).map(BaseUrl::origin).as_deref(),
        Some("https://pushapi.example")
    );
}

/// A temporary folder that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = env::temp_dir().join(format!("jpush-gateway-config-{}-{name}", process::id()));
        fs::create_dir_all(&folder).expect("a folder for temporary files");
        Self(folder)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).expect("a writable folder");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn files_are_loaded_with_what_they_refer_to() {
    let folder = Folder::new("load");
    folder.write("secret", "from a file\n");
    folder.write("large", vec![b'x'; SECRET_FILE_BYTES_MAX + 1]);
    fs::create_dir_all(folder.0.join("folder")).expect("a writable folder");
    let with = |secret: &str| {
        let path = folder.write("gateway.yaml", top("").replace("{ env: SHOP_MASTER_SECRET }", secret));
        load(&path)
            .map(|config| config.tenants[0].app.secret.expose().to_owned())
            .map_err(|faults| faults.to_string())
    };
    assert_eq!(with("{ file: secret }"), Ok("from a file".to_owned()));
    let path = folder.0.join("gateway.yaml");
    let at =
        |problem: &str| Err(format!("tenants.shop.app.secret: {problem} in {} (line 3)", path.display()));
    let file = |name: &str| format!("the file {:?}", folder.0.join(name));
    assert_eq!(with("{ file: large }"), at(&format!("{} is larger than 64 KiB", file("large"))));
    assert_eq!(with("{ file: folder }"), at(&format!("{} is not a regular file", file("folder"))));
    assert_eq!(
        with("{ env: JPUSH_GATEWAY_TEST_NOT_SET }"),
        at("the variable JPUSH_GATEWAY_TEST_NOT_SET is not set")
    );
    assert!(with("{ env: PATH }").is_ok_and(|path| !path.is_empty()));
    assert!(with("{ file: none }").is_err_and(|faults| faults.contains(&file("none"))));
}

#[test]
fn files_that_are_no_text_or_too_long_are_faults() {
    let folder = Folder::new("bytes");
    let rows = [
        (folder.write("binary", b"a: \xff"), "is not UTF-8"),
        (folder.write("wide", b"\xff\xfea\0:\0"), "is UTF-16; save it as UTF-8"),
        (folder.write("long", vec![b'\n'; BYTES_MAX + 1]), "the configuration is longer than 64 MiB"),
        (folder.write("cut", "é".repeat(BYTES_MAX)), "the configuration is longer than 64 MiB"),
        (folder.0.join("none"), "cannot be read"),
        (folder.0.clone(), "cannot be read"),
    ];
    for (path, expected) in rows {
        let faults = load(&path).err().expect("bad").to_string();
        assert!(faults.contains(expected) && faults.lines().count() == 1, "{faults}");
    }
}
