package wire_test

import (
	"fmt"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/wire"
)

func Example() {
	e := &messaging.Envelope{
		Kind: messaging.KindRPC, ID: "2bafd1", Method: "delete_volume", Version: "1.15",
		Body:    []byte(`{"volume_id": 9007199254740993}`),
		Context: []messaging.ContextValue{{Key: "user_id", Value: []byte(`"u1"`)}},
	}
	for _, codec := range []messaging.Codec{wire.Oslo(1 << 20), wire.Native(1 << 20)} {
		var m messaging.Message
		if err := codec.Encode(e, &m); err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(codec.Name(), m.ContentType)
		fmt.Println(m.ID, m.Headers)
		fmt.Println(string(m.Body))
	}
	// Output:
	// oslo application/json
	//  []
	// {"oslo.version": "2.0", "oslo.message": "{\"method\": \"delete_volume\", \"args\": {\"volume_id\": 9007199254740993}, \"version\": \"1.15\", \"_unique_id\": \"2bafd1\", \"_context_user_id\": \"u1\"}"}
	// native application/vnd.patchbay.v1+json
	// 2bafd1 [{pb-method delete_volume} {pb-version 1.15} {pb-context {"user_id": "u1"}}]
	// {"volume_id": 9007199254740993}
}
