"""The doctor: `ovnpay doctor` checks each part of an installation, and says what is wrong and how to fix it."""
