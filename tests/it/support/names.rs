//! Names for the system's resolver, and addresses that do not answer, for a single test.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use super::{Config, Folder, Gateway};

/// A port that neither accepts nor refuses connections: its queue is full, so the kernel drops SYN packets.
pub(crate) struct SilentPort {
    pub(crate) address: SocketAddr,
    _listener: TcpListener,
    _queue: Vec<TcpStream>,
}

impl SilentPort {
    /// Such a port at this address; `None` if the machine does not have the address.
    pub(crate) fn at(ip: IpAddr) -> Option<Self> {
        let any = SocketAddr::from((ip, 0));
        let socket =
            socket2::Socket::new(socket2::Domain::for_address(any), socket2::Type::STREAM, None).ok()?;
        if any.is_ipv6() {
            socket.set_only_v6(true).expect("a fresh socket");
        }
        socket.bind(&any.into()).ok()?;
        socket.listen(0).expect("the socket listens");
        let listener: TcpListener = socket.into();
        let address = listener.local_addr().expect("an address");
        let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok();
        let queue: Vec<_> = std::iter::from_fn(connect).take(8).collect();
        assert!(queue.len() < 8, "the queue of {address} does not fill");
        Some(Self { address, _listener: listener, _queue: queue })
    }
}

/// Files for the resolver of one process, mounted in a namespace of its own.
pub(crate) struct Names {
    folder: Folder,
    file: &'static str,
}

impl Names {
    /// Files that give a name these addresses. `None`, with a message, if namespaces are not available.
    pub(crate) fn of(name: &str, addresses: &[IpAddr]) -> Option<Self> {
        let lines = addresses.iter().map(|address| format!("{address} {name}\n"));
        Self::with("hosts", &lines.collect::<String>())
    }

    /// Files that send every query to this address, with 20 seconds of patience.
    pub(crate) fn asking(server: IpAddr) -> Option<Self> {
        Self::with("resolv.conf", &format!("nameserver {server}\noptions timeout:10 attempts:2\n"))
    }

    fn with(file: &'static str, content: &str) -> Option<Self> {
        let folder = Folder::new();
        folder.write(file, content);
        let names = Self { folder, file };
        let made = Command::new("sh").args(["-c", &names.shell(), "true"]).status();
        let can = made.is_ok_and(|status| status.success());
        if !can {
            eprintln!("skipped: no mount namespace can be made here");
        }
        can.then_some(names)
    }

    /// Starts a gateway that resolves names by these files.
    pub(crate) fn start(self, folder: Folder, mut config: Config) -> (Gateway, Folder) {
        config.shell = self.shell().leak();
        (Gateway::start_in(folder, &config), self.folder)
    }

    /// Runs `$0` in a namespace with the file mounted.
    fn shell(&self) -> String {
        let (from, file) = (self.folder.path().join(self.file), self.file);
        let inside = format!("mount --bind {} /etc/{file} && exec \"$0\" \"$@\"", from.display());
        format!("exec unshare -rm sh -c '{inside}' \"$0\" \"$@\"")
    }
}
