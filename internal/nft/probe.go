package nft

import (
	"context"
	"fmt"
)

// ProbeOffload asks the driver of a device to take a flowtable with `flags offload`, and returns why it does not; "" when
// it does. The flowtable has no chain, so no flow enters it, and the transaction is only checked (`nft -c`): the kernel
// asks the driver and takes everything back. The driver's own words are lost on the way (nf_tables_api.c), only the error
// number is left.
func ProbeOffload(ctx context.Context, device string) (refused string, err error) {
	why, err := offloadRefused(ctx, Flowtable{Family: enableFamily, Devices: []string{device}})
	if err != nil {
		return "", fmt.Errorf("probe %s: %w", device, err)
	}
	return why, nil
}

// ProbeCommand is what ProbeOffload runs, as people would write it.
func ProbeCommand(device string) string {
	return fmt.Sprintf(`nft -c 'table inet t { flowtable f { hook ingress priority 0; flags offload; devices = { %s }; }; }'`, device)
}
