package nft

import (
	"slices"
	"testing"

	"github.com/mdlayher/netlink"
)

func TestDeviceNamesWithAsterisk(t *testing.T) {
	e := netlink.NewAttributeEncoder()
	e.String(deviceName, "eth0")
	e.Bytes(deviceName, []byte("wan"))       // Linux 6.16
	e.Bytes(devicePrefix, []byte("lan\x00")) // later
	b, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	ad, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		t.Fatal(err)
	}
	var o kernelObject
	if err := o.addDevices(ad); err != nil {
		t.Fatal(err)
	}
	if want := []string{"eth0", "wan*", "lan*"}; !slices.Equal(o.devices, want) {
		t.Errorf("devices %q, want %q", o.devices, want)
	}
}
