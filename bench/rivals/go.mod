module github.com/patchbay-go/patchbay/bench/rivals

go 1.26.0

require (
	github.com/go-zeromq/zmq4 v0.17.0
	github.com/patchbay-go/patchbay v0.0.0
	google.golang.org/grpc v1.85.0
)

require (
	github.com/go-json-experiment/json v1.27.2 // indirect
	github.com/go-zeromq/goczmq/v4 v4.2.2 // indirect
	github.com/rabbitmq/amqp091-go v1.16.0 // indirect
	golang.org/x/net v0.60.0 // indirect
	golang.org/x/sync v0.24.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/text v0.43.0 // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20260817212433-ac3dfec99bb1 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
)

replace github.com/patchbay-go/patchbay => ../..
