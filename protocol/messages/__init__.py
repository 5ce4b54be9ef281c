"""One file per API: request and response side by side, for every version a client ever spoke."""
