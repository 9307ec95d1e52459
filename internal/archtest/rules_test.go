package archtest_test

// A rule says what the packages that match a pattern may import, besides the
// standard library.
type rule struct {
	pattern string   // a path inside the module, as path.Match reads it; the first rule that matches counts
	may     []string // paths inside the module or of libraries; "lib/..." covers the packages below too
	why     string   // ends the sentence "it may import no more, because …"
}

const (
	amqp091        = "github.com/rabbitmq/amqp091-go"
	zmq4           = "github.com/go-zeromq/zmq4"
	goRedis        = "github.com/redis/go-redis/v9"
	memberlist     = "github.com/hashicorp/memberlist"
	goAMQP         = "github.com/Azure/go-amqp"
	testcontainers = "github.com/testcontainers/testcontainers-go/..."
	moby           = "github.com/moby/moby/..."
	cobra          = "github.com/spf13/cobra"
	pflag          = "github.com/spf13/pflag"
	yaml           = "go.yaml.in/yaml/v3"
	prometheus     = "github.com/prometheus/client_golang/..."
	otel           = "go.opentelemetry.io/otel"
)

// amqpParts are what the two drivers over AMQP share.
var amqpParts = []string{"internal/coalesce", "internal/fifo", "internal/gate", "internal/inbox", "internal/intern", "internal/lifetime", "internal/splice", "internal/tlsurl"}

var rules = []rule{
	{
		"messaging",
		[]string{"internal/lazyctx", "internal/throttle"},
		"every user and every driver depends on the core: it must bring no library and know no driver, format or pattern",
	},
	{
		"messaging/wire",
		[]string{"messaging"},
		"a codec is pure: bytes in, an Envelope out",
	},
	{
		"messaging/rpc",
		[]string{"messaging", "internal/jsontext", "internal/lazyctx", "internal/requestctx", "internal/serving", "internal/throttle"},
		"what it asks of a transport must work on every driver, so it may know none",
	},
	{
		"messaging/notify",
		[]string{"messaging", "internal/jsontext", "internal/lazyctx", "internal/requestctx", "internal/serving", "internal/throttle"},
		"what it asks of a transport must work on every driver, so it may know none, and no requests",
	},
	{
		"messaging/notify/routing",
		[]string{"messaging/notify", yaml},
		"it reads rules, and is a package of its own so that nobody else links what reads YAML",
	},
	{
		"messaging/notify/httpnotify",
		[]string{"messaging/notify"},
		"it is middleware that anyone could write",
	},
	{
		"messaging/osloconf",
		[]string{"messaging", "messaging/rpc", "messaging/notify", "messaging/notify/routing", "internal/spelling"},
		"it turns files into what an application could write itself",
	},
	{
		"messaging/telemetry",
		[]string{
			"messaging", "messaging/rpc", otel, otel + "/attribute", otel + "/codes", otel + "/metric/...", otel + "/propagation",
			otel + "/semconv/...", otel + "/trace/...",
		},
		"it is made of middleware and traces that anyone could write, on OpenTelemetry's API: the SDK is the application's choice",
	},
	{
		"drivers/all",
		[]string{"messaging", "drivers/..."},
		"it only lists the drivers",
	},
	{
		"drivers/fake",
		[]string{"messaging", "messaging/wire"},
		"a driver knows addresses and messages, never RPC or another driver",
	},
	{
		"drivers/rabbit",
		append([]string{"messaging", "messaging/wire", amqp091}, amqpParts...),
		"a driver knows addresses and messages, never RPC or another driver, and its own client library alone",
	},
	{
		"drivers/amqp1",
		append([]string{"messaging", "messaging/wire", goAMQP}, amqpParts...),
		"a driver knows addresses and messages, never RPC or another driver, and its own client library alone",
	},
	{
		"drivers/zmq",
		[]string{
			"messaging", "messaging/wire", "internal/throttle", "internal/tlsurl", "drivers/zmq/discovery",
			"drivers/zmq/internal/link", "drivers/zmq/internal/proto",
		},
		"a driver knows addresses and messages, never RPC or another driver; ZeroMQ is its link layer's affair",
	},
	{
		"drivers/zmq/internal/link",
		[]string{"internal/coalesce", zmq4},
		"it is a connection to one peer, which knows nothing of messaging",
	},
	{
		"drivers/zmq/internal/proto",
		[]string{"messaging"},
		"it is bytes in, messages out",
	},
	{
		"drivers/zmq/discovery",
		[]string{"messaging"},
		"whoever needs no Redis and no gossip must not link them",
	},
	{
		"drivers/zmq/discovery/redis",
		[]string{"messaging", "internal/throttle", "drivers/zmq/discovery", goRedis},
		"it is what a program links that names it, and its library alone",
	},
	{
		"drivers/zmq/discovery/gossip",
		[]string{"messaging", "drivers/zmq/discovery", memberlist},
		"it is what a program links that names it, and its library alone",
	},
	{
		"drivers/zmq/discovery/discoverytest",
		[]string{"messaging", "drivers/zmq/discovery"},
		"it judges backends by what the driver can see of them",
	},
	{
		"conformance",
		[]string{"messaging", "messaging/rpc", "messaging/notify", "conformance/faultproxy"},
		"driver authors outside this module run the suite: it may use what they can, and judge no driver by its name",
	},
	{
		"conformance/faultproxy",
		nil,
		"it is a TCP proxy, which knows nothing of messaging",
	},
	{
		"conformance/fakeharness",
		[]string{"messaging", "conformance", "drivers/fake"},
		"it is what a driver author would write for that driver",
	},
	{
		"interop",
		nil,
		"it holds tests only",
	},
	{
		"bench",
		[]string{"messaging", "messaging/rpc"},
		"it measures what users can use, over any driver, and is part of the command",
	},
	{
		"bench/amqp091",
		[]string{"bench", "internal/coalesce", "messaging", "messaging/wire", amqp091},
		"it is what one would write without this module: coalesce is the one part that the comparison shares",
	},
	{
		"bench/amqp10",
		[]string{"bench", "internal/coalesce", goAMQP},
		"it is what one would write without this module: coalesce is the one part that the comparison shares",
	},
	{
		"bench/cmd/*",
		[]string{"bench", "bench/amqp091", "bench/amqp10", "drivers/all"},
		"it only says what to compare",
	},
	{
		"cmd/*",
		[]string{
			"messaging", "messaging/rpc", "messaging/notify", "messaging/osloconf", "conformance", "conformance/...", "bench", "drivers/all",
			"internal/freeport", "internal/spelling", cobra, pflag,
		},
		"a command is made of the public API, to show that it is enough, and of what finds ports and misspelled names",
	},
	{
		"examples/prometheus",
		[]string{"messaging", "messaging/...", "drivers/all", otel + "/...", prometheus},
		"an example may use nothing that a reader cannot",
	},
	{
		"examples/*",
		[]string{"messaging", "messaging/...", "conformance", "drivers/all", "drivers/fake"},
		"an example may use nothing that a reader cannot",
	},
	{
		"internal/serving",
		[]string{"messaging", "internal/fifo", "internal/throttle"},
		"it is the part of a server that knows neither requests nor notifications",
	},
	{
		"internal/semantics",
		[]string{"conformance"},
		"it reads reports, and is for tests",
	},
	{
		"internal/coalesce", nil,
		"it is a net.Conn, which knows nothing of messaging",
	},
	{
		"internal/jsontext",
		[]string{"github.com/go-json-experiment/json", "github.com/go-json-experiment/json/jsontext", "github.com/go-json-experiment/json/v1"},
		"it is encoding/json with a few rules more, which knows nothing of messaging",
	},
	{
		"internal/requestctx",
		[]string{"messaging", "internal/lazyctx"},
		"it is the key under which requests and notifications find the same entries",
	},
	{
		"internal/gate", nil,
		"it counts who is inside, and knows nothing of messaging",
	},
	{
		"internal/inbox",
		[]string{"internal/fifo"},
		"it is a queue, which knows nothing of messaging",
	},
	{
		"internal/fifo", nil,
		"it is about slices, which know nothing of messaging",
	},
	{
		"internal/lifetime",
		[]string{"messaging", "internal/gate"},
		"it knows how a connection ends, and nothing of a protocol",
	},
	{
		"internal/intern", nil,
		"it is a table of texts, which knows nothing of messaging",
	},
	{
		"internal/splice", nil,
		"it is an io.Reader, which knows frames by their sizes only",
	},
	{
		"internal/freeport", nil,
		"it finds ports for tests and for the command line, and knows nothing of messaging",
	},
	{
		"internal/spelling", nil,
		"it compares texts, and knows nothing of messaging",
	},
	{
		"internal/tlsurl",
		[]string{"messaging"},
		"it reads the options of a URL",
	},
	{
		"internal/tlstest", nil,
		"it makes certificates for the tests of any package",
	},
	{
		"internal/lazyctx", nil,
		"it is a context.Context, which knows nothing of messaging",
	},
	{
		"internal/throttle", nil,
		"it counts, and knows nothing of messaging",
	},
	{
		"internal/mutetest",
		[]string{"messaging", "messaging/rpc", "internal/splice"},
		"it tries any driver on a broker that does not answer, and knows none",
	},
	{
		"internal/brokertest",
		[]string{amqp091, goAMQP, testcontainers, moby},
		"it starts brokers for the tests of any package, so it may depend on none of them",
	},
	{
		"internal/archtest", nil,
		"it reads the module, it does not use it",
	},
}

// testLibraries is what any test may import on top of what its package may. A
// test may also import every package of this module.
var testLibraries = []string{
	"github.com/google/go-cmp/...",
	"pgregory.net/rapid",
	otel + "/sdk/...",
}
