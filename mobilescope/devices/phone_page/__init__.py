"""Any phone's browser as a camera: a page that the phone opens, and the server behind it."""
