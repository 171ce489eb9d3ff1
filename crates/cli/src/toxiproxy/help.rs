//! What `toxiproxy-cli` and `toxiproxy-server` say of themselves.

/// The flags of the server, as Go's `flag` package lists them.
pub const SERVER: &str = "\
Usage of toxiproxy-server:
  -config string
    \tJSON or YAML file containing proxies to create on startup
  -host string
    \tHost for toxiproxy's API to listen on (default \"localhost\")
  -port string
    \tPort for toxiproxy's API to listen on (default \"8474\")
  -proxy-metrics
    \tenable proxy prometheus metrics (default \"false\")
  -runtime-metrics
    \tenable process prometheus metrics (default \"false\")
  -seed int
    \tSeed that toxics' decisions repeat with
  -version
    \tprint the version (default \"false\")
";

/// The client as a whole.
pub const CLIENT: &str = "\
NAME:
   toxiproxy-cli - Simulate network and system conditions

USAGE:
   toxiproxy-cli [global options] command [command options]

COMMANDS:
   list, l, li, ls    list all proxies
   inspect, i, ins    inspect a single proxy: inspect <proxyName>
   create, c, new     create a new proxy: create --listen <addr> --upstream <addr> <proxyName>
   toggle, tog        toggle enabled status on a proxy: toggle <proxyName>
   delete, d          delete a proxy: delete <proxyName>
   toxic, t           add, update or remove a toxic
   help               shows a list of commands

GLOBAL OPTIONS:
   --host value, -h value  toxiproxy host to connect to (default: \"http://localhost:8474\") [$TOXIPROXY_URL]
   --help                  show help
   --version, -v           print the version
";

/// Everything about toxics.
pub const TOXIC: &str = "\
NAME:
   toxiproxy-cli toxic - add, update or remove a toxic

USAGE:
   toxiproxy-cli toxic add --type <toxicType> [--downstream|--upstream] [--toxicName <toxicName>] \\
           [--toxicity <float>] [--attribute <key=value>]... <proxyName>
   toxiproxy-cli toxic update --toxicName <toxicName> [--toxicity <float>] [--attribute <key=value>]... <proxyName>
   toxiproxy-cli toxic remove --toxicName <toxicName> <proxyName>

COMMANDS:
   add, a                 add a new toxic
   update, u              update a toxic
   remove, r, delete, d   remove a toxic

OPTIONS:
   --toxicName value, -n value   name of the toxic (default: <type>_<stream>)
   --type value, -t value        type of toxic
   --toxicity value, --tox value share of connections, a float between 0 and 1 (default: 1.0)
   --attribute value, -a value   toxic attribute in key=value format
   --upstream, -u                add toxic to upstream
   --downstream, -d              add toxic to downstream (default)

TOXICS:
   latency      latency=<ms>,jitter=<ms>
   bandwidth    rate=<KB/s>
   slow_close   delay=<ms>
   timeout      timeout=<ms>
   reset_peer   timeout=<ms>
   slicer       average_size=<bytes>,size_variation=<bytes>,delay=<microseconds>
   limit_data   bytes=<bytes>
";
