//! Names and addresses of a test's own: what the system's resolver finds, and addresses that say nothing.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use super::{Config, Folder, Gateway};

/// A port that takes no connection and refuses none: its queue is full, so the kernel drops what asks to connect.
pub(crate) struct SilentPort {
    pub(crate) address: SocketAddr,
    _listener: TcpListener,
    _queue: Vec<TcpStream>,
}

impl SilentPort {
    /// `None` where the machine has no such address.
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

/// Files of the resolver's for one process, in a mount namespace of its own.
pub(crate) struct Names {
    folder: Folder,
    file: &'static str,
}

impl Names {
    /// A name with these addresses. `None`, with a word, where no namespace can be made.
    pub(crate) fn of(name: &str, addresses: &[IpAddr]) -> Option<Self> {
        let lines = addresses.iter().map(|address| format!("{address} {name}\n"));
        Self::with("hosts", &lines.collect::<String>())
    }

    /// Every name is asked for at this address, 20 seconds long.
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

    /// Starts a gateway that resolves names by them.
    pub(crate) fn start(self, folder: Folder, mut config: Config) -> (Gateway, Folder) {
        config.shell = self.shell().leak();
        (Gateway::start_in(folder, &config), self.folder)
    }

    /// Goes on as `$0` in a namespace with the file in its place.
    fn shell(&self) -> String {
        let (from, file) = (self.folder.path().join(self.file), self.file);
        let inside = format!("mount --bind {} /etc/{file} && exec \"$0\" \"$@\"", from.display());
        format!("exec unshare -rm sh -c '{inside}' \"$0\" \"$@\"")
    }
}
