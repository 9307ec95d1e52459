package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
)

func Example() {
	if err := run(context.Background(), nil, os.Stdout); err != nil {
		fmt.Println(err)
	}
	// Output:
	// $ volume capabilities
	// host1 has the types ["" "ssd"]
	// $ volume create host1 v-1 10 ssd
	// volume.host1 volume.create.start v-1
	// volume.host1 volume.create.end v-1
	// $ volume get host1 v-1
	// volume v-1 of 10 GiB, type "ssd", is available
	// $ volume -version 1.0 create host1 v-2 20
	// volume.host1 volume.create.start v-2
	// volume.host1 volume.create.end v-2
	// $ volume -version 1.0 create host1 v-3 30 ssd
	// creating volume v-3 of type ssd: version above the client's cap
	// $ volume -version 1.0 extend host1 v-2 40
	// calling "extend_volume" on server "host1" of topic "volume-example": version above the client's cap: version "1.1", cap "1.0"
	// $ volume -version 1.1 extend host1 v-2 40
	// volume v-2 of 40 GiB, type "", is available
	// volume.host1 volume.extend v-2
	// $ volume -version 1.1 delete host1 v-2
	// volume.host1 volume.delete v-2
	// $ volume get host1 v-2
	// calling "get_volume" on server "host1" of topic "volume-example": VolumeNotFound: volume v-2 is not on host1
	// $ volume extend host1 v-2 50
	// calling "extend_volume" on server "host1" of topic "volume-example": VolumeNotFound: volume v-2 is not on host1
	// volume.host1 volume.extend.error v-2 VolumeNotFound: volume v-2 is not on host1
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{"create", "host1"}, {"nonsense"}, {"get"}, {"watch", "more"}} {
		if err := run(t.Context(), args, io.Discard); !errors.Is(err, errUsage) {
			t.Errorf("%q: %v", args, err)
		}
	}
	for _, args := range [][]string{{"create", "host1", "v-1", "large"}, {"-url", "nonsense://", "watch"}, {"-nonsense"}} {
		if err := run(t.Context(), args, io.Discard); err == nil || errors.Is(err, errUsage) {
			t.Errorf("%q: %v", args, err)
		}
	}
}
