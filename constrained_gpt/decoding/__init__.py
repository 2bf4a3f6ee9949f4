"""Who loops: the decoding strategies, one signature. No torch."""
