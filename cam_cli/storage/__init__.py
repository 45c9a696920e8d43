"""Where photos and results may lie beside this machine's disks: objects of a store, by their URLs."""
