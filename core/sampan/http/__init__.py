"""HTTP/1.1 as a server speaks it: h11 reads and writes the protocol, the sockets and processes are our own."""
