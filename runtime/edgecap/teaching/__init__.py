"""Teaching sounds: from recordings to what `edgecap.sounds` recognises."""
