//! A web server at pod `b` with TLS, for `hub.example.com` and `cdn.elsewhere.net`, and the authorities to open it with and to believe it by.

use super::{Machine, eventually};
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// Writes down what it is shown. The hub leads where the field `x-lead` says.
const SERVER: &str = "\
import http.server, ssl
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_GET(self):
        self.do_POST()
    def do_POST(self):
        self.rfile.read(int(self.headers.get('content-length', 0)))
        with open('seen', 'a') as seen:
            seen.write(repr(self.headers.items()) + '\\n')
        lead = self.headers.get('x-lead')
        if lead and self.headers.get('host') == 'hub.example.com':
            self.send_response(302)
            self.send_header('location', lead)
        else:
            self.send_response(200)
        self.send_header('content-length', '2')
        self.end_headers()
        self.wfile.write(b'{}')
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(('0.0.0.0', 443), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain('server.pem', 'server.key')
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
";

const OF_SERVER: &str = "[req]\ndistinguished_name = name\nx509_extensions = more\nprompt = no\n[name]\nCN = hub.example.com\n\
                         [more]\nbasicConstraints = critical, CA:FALSE\nsubjectAltName = DNS:hub.example.com, DNS:cdn.elsewhere.net\n";
const OF_GATEWAY: &str = "[req]\ndistinguished_name = name\nx509_extensions = more\nprompt = no\n[name]\nCN = inspection\n\
                          [more]\nbasicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign\n";

/// A TLS server at pod `b`, until this goes.
pub(crate) struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Beside the manifests, where nobody reads them.
pub(crate) fn folder(machine: &Machine) -> PathBuf {
    machine.folder().parent().unwrap().to_owned()
}

/// Its certificate is `server.pem`; the authority to open TLS with is `gateway.pem` and `gateway.key`.
pub(crate) fn serve(machine: &Machine) -> Server {
    let folder = folder(machine);
    for (name, config) in [("server", OF_SERVER), ("gateway", OF_GATEWAY)] {
        fs::write(folder.join("config"), config).unwrap();
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
            .args(["-days", "2", "-config", "config", "-keyout", &format!("{name}.key")])
            .args(["-out", &format!("{name}.pem")])
            .current_dir(&folder)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
    }
    let server = machine.at("b", move || {
        let mut python = Command::new("python3");
        python.args(["-c", SERVER]).current_dir(folder).stdin(Stdio::null()).spawn().unwrap()
    });
    let server = Server(server);
    let at = SocketAddr::from(([127, 0, 0, 1], 443));
    eventually("the TLS server", || machine.at("b", move || TcpStream::connect(at).ok()));
    server
}
